"""Made-up reviews whose telling words are known exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from logprob.data.base import Dataset, DataSource
from logprob.data.reviews import PAD, RESERVED, Reviews, reviews_dataset

RULE = "planted-reviews/1"
SHORTEST, LONGEST = 20, 80  # words of a review
SPAN = (5, 8)  # words about an aspect, together
SPREAD = 0.25  # of the valence of single words about that of their span, whose range is [-1, 1]


@dataclass(frozen=True)
class PlantedReviews(DataSource):
    """Reviews of random words with one span about each aspect; the score is the mean valence of its words.

    ``Batch.x`` are word numbers, int64 ``(N, 80)``, 0 pads at the front; ``Batch.target`` the score
    ``(1 + mean valence) / 2`` in [0, 1], ``(N,)``; ``Batch.context`` marks the span of the aspect, bool ``(N, 80)``.
    The marks are for metrics; no model may see them.

    Each aspect has ``lexicon`` words of its own, with valences from -1 to 1 in equal steps; all other words mean
    nothing. A span has 5 to 8 words about a valence drawn from U(-1, 1); spans come in any order, with other words
    before, between and after them, 20 to 80 in all. Scores of different aspects are independent: the words about the
    others mislead a model that takes them all.

    Args:
        aspect: that is scored, from 0. The reviews are the same for each.
        aspects: number of spans of a review, at most 10.
        words: of the vocabulary, more than ``aspects * lexicon``.
        lexicon: words of each aspect, at least 2.
        train: rows.
        valid: rows.
        test: rows.
        seed: of everything.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> data = PlantedReviews(train=100, valid=10, test=10).load()
        >>> data.train.x.shape, data.categories, data.test.context.sum(-1).max() <= 8
        (torch.Size([100, 80]), 2003, tensor(True))
    """

    aspect: int = 0
    aspects: int = 4
    words: int = 2_000
    lexicon: int = 40
    train: int = 10_000
    valid: int = 1_000
    test: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.aspect < self.aspects <= LONGEST // SPAN[1] or self.lexicon < 2:
            raise ValueError(f"expected 0 <= aspect < aspects <= 10 and lexicon >= 2, got {self}")
        if self.words <= self.aspects * self.lexicon:
            raise ValueError(f"expected more than {self.aspects * self.lexicon} words, got {self.words}")
        if min(self.train, self.valid, self.test) < 1 or self.seed < 0:
            raise ValueError(f"expected rows from 1 and seed from 0, got {self}")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Draw; ``root`` is not used, as nothing is read."""
        parts = [self._reviews(split, rows) for split, rows in enumerate((self.train, self.valid, self.test))]
        split = {"rule": "a stream of random numbers for every split", "seed": self.seed}
        return reviews_dataset(
            f"planted-reviews-{self.aspect}", RULE, parts, RESERVED + self.words, split, lexicon=self.lexicon
        )

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """As few reviews as asked for, made by the same rule."""
        few = replace(self, train=rows, valid=rows, test=rows).load()
        note = f"{rows} reviews of each split, for smoke runs"
        return replace(few, name=f"{few.name} stand-in", provenance={**few.provenance, "stand_in": note})

    def _reviews(self, split: int, rows: int) -> Reviews:
        rng = np.random.default_rng((self.seed, split))
        ids, about = (np.full((rows, LONGEST), fill) for fill in (PAD, -1))
        for row in range(rows):
            words, aspects = self._review(rng)
            ids[row, LONGEST - len(words) :], about[row, LONGEST - len(words) :] = words, aspects
        marks = about == self.aspect
        valence = np.where(marks, -1 + 2 * (ids - RESERVED - self.aspect * self.lexicon) / (self.lexicon - 1), 0.0)
        return Reviews(ids, marks, (1 + valence.sum(axis=1) / marks.sum(axis=1)) / 2)

    def _review(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Word numbers, and the aspect that each is about or -1."""
        sizes = rng.integers(SPAN[0], SPAN[1] + 1, self.aspects)
        total = rng.integers(max(SHORTEST, sizes.sum()), LONGEST + 1)
        order = rng.permutation(self.aspects)
        # how many other words come before each span and after the last one
        gaps = rng.multinomial(total - sizes.sum(), np.full(self.aspects + 1, 1 / (self.aspects + 1)))
        pieces = np.empty(2 * self.aspects + 1, dtype=np.intp)
        pieces[::2], pieces[1::2] = gaps, sizes[order]
        kinds = np.full(len(pieces), -1)
        kinds[1::2] = order
        about = kinds.repeat(pieces)
        mood = rng.uniform(-1, 1, self.aspects)[about] + SPREAD * rng.standard_normal(total)
        place = np.clip(np.round((mood + 1) / 2 * (self.lexicon - 1)), 0, self.lexicon - 1).astype(np.intp)
        other = rng.integers(self.aspects * self.lexicon, self.words, total)
        return RESERVED + np.where(about < 0, other, about * self.lexicon + place), about
