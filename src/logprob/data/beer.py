"""BeerAdvocate: reviews of beer with scores of four aspects, and annotated sentences."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from logprob.data.base import Dataset, DataSource
from logprob.data.files import CorruptDataError, Origin, find_files
from logprob.data.reviews import (
    RESERVED,
    Text,
    encoded,
    frequent_words,
    generated_reviews,
    read_lines,
    reviews_dataset,
)

RULE = "beer-reviews/1"
ASPECTS = ("appearance", "aroma", "palate", "taste")


@dataclass(frozen=True)
class BeerReviews(DataSource):
    """Reviews of beer: which ten words tell the score of one aspect?

    ``Batch.x`` are word numbers, int64 ``(N, length)``: 0 pads at the front, 1 is kept for a start, 2 is an unknown
    word, then the words of the training rows, the most frequent first. The first ``length`` words of a review count.
    ``Batch.target`` is the score of the aspect in [0, 1], ``(N,)``. ``Batch.context`` says which words people marked as
    speaking of the aspect, bool ``(N, length)``. It is for metrics; no model may see it.

    Half of the held-out reviews validate. The other half is test, and the annotated reviews come after it; only they
    have marks.

    Files, in ``beer/`` or right in the folder, packed with gzip or not: ``reviews.aspect1.train.txt`` and
    ``reviews.aspect1.heldout.txt``, a line ``y0 y1 y2 y3 y4<TAB>words`` for each review; ``annotations.json``, on each
    line an object with words ``x``, scores ``y`` and, under the number of each aspect, a list of ranges
    ``[start, end)``. For vectors of the words, such as those of ``review+wiki.filtered.200.txt``, see
    :func:`read_word_vectors`.

    Args:
        aspect: 0 appearance, 1 aroma, 2 palate or 3 taste.
        length: words of a row.
        seed: of the halves.

    Raises:
        ValueError: if a number is out of its range.

    References:
        McAuley, Leskovec and Jurafsky, "Learning Attitudes and Attributes from Multi-Aspect Reviews", ICDM 2012.
        Lei, Barzilay and Jaakkola, "Rationalizing Neural Predictions", EMNLP 2016.

    Example:
        >>> data = BeerReviews(aspect=1).stand_in(10)
        >>> data.train.x.shape, data.train.target.shape, data.test.context.any()
        (torch.Size([10, 350]), torch.Size([10]), tensor(True))
    """

    aspect: int = 1
    length: int = 350
    seed: int = 0

    def __post_init__(self) -> None:
        if self.aspect not in range(len(ASPECTS)) or self.length < 1:
            raise ValueError(f"expected an aspect of 0 to 3 and a length from 1, got {self.aspect} and {self.length}")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read, check and split.

        Raises:
            MissingDataError: if a file is not found.
            CorruptDataError: if a line is not what it should be.
        """
        found = find_files(ORIGIN, _layouts(self.aspect), root)
        train, heldout = (_reviews(found.path(name), self.aspect) for name in found.names[:2])
        marked = _annotations(found.path(found.names[2]), self.aspect)
        order = np.random.RandomState(self.seed).permutation(len(heldout))
        valid, test = ([heldout[i] for i in half] for half in np.array_split(order, 2))
        numbers = frequent_words(train, minimum_count=1)
        split = {"rule": "halves of the held-out reviews; the annotated ones end the test rows", "seed": self.seed}
        return reviews_dataset(
            self._name,
            RULE,
            [encoded(part, numbers, self.length) for part in (train, valid, test + marked)],
            RESERVED + len(numbers),
            split,
            files=found.describe(),
            aspect=ASPECTS[self.aspect],
            annotated=len(marked),
        )

    def vocabulary(self, root: str | Path | None = None) -> dict[str, int]:
        """Numbers of the words of the training rows; arguments and errors as in :meth:`load`."""
        found = find_files(ORIGIN, _layouts(self.aspect), root)
        return frequent_words(_reviews(found.path(found.names[0]), self.aspect), minimum_count=1)

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Random words of the right width; no file is needed."""
        return generated_reviews(self._name, rows, self.length, words=2_000, marked=True)

    @property
    def _name(self) -> str:
        return f"beer-{ASPECTS[self.aspect]}"


ORIGIN = Origin(
    "beer reviews",
    "the files that Lei, Barzilay and Jaakkola (2016) made of BeerAdvocate",
    licence="not to be redistributed",
    substitute="PlantedReviews (generated, with exact marks) or Sentiment",
)


def _layouts(aspect: int) -> list[list[str]]:
    names = [f"reviews.aspect{aspect}.train.txt", f"reviews.aspect{aspect}.heldout.txt", "annotations.json"]
    ends = (("", ""), (".gz", ""), (".gz", ".gz"))  # of the texts, and of the annotations
    return [
        [folder + name + (notes if name.endswith(".json") else texts) for name in names]
        for folder in ("beer/", "")
        for texts, notes in ends
    ]


def _reviews(path: Path, aspect: int) -> list[Text]:
    texts = []
    for number, line in enumerate(read_lines(path), 1):
        scores, tab, words = line.partition("\t")
        if not tab:
            raise CorruptDataError(f"{path}, line {number}: expected scores, a tab and words, got {line[:60]!r}")
        texts.append(Text(words.split(), _score(scores.split(), aspect, f"{path}, line {number}")))
    return texts


def _annotations(path: Path, aspect: int) -> list[Text]:
    texts = []
    for number, line in enumerate(read_lines(path), 1):
        where = f"{path}, line {number}"
        try:
            item = json.loads(line)
            words, scores, ranges = item["x"], item["y"], item[str(aspect)]
            marks = [(int(start), int(end)) for start, end in ranges]
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptDataError(f"{where}: expected an object with x, y and {aspect}; {error!r}") from error
        if not all(0 <= start <= end <= len(words) for start, end in marks):
            raise CorruptDataError(f"{where}: expected ranges within {len(words)} words, got {marks}")
        texts.append(Text(words, _score(scores, aspect, where), marks))
    return texts


def _score(scores: list[Any], aspect: int, where: str) -> float:
    try:
        score = float(scores[aspect])
    except (ValueError, IndexError, TypeError) as error:
        raise CorruptDataError(f"{where}: expected a score of aspect {aspect}, got {scores}") from error
    if not 0 <= score <= 1:
        raise CorruptDataError(f"{where}: expected a score in [0, 1], got {score}")
    return score
