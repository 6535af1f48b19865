"""Texts as rows of word numbers, with a score and, where there are some, marks on the words that speak of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from logprob.batch import Batch
from logprob.data.base import Dataset
from logprob.data.files import CorruptDataError, open_binary
from logprob.data.splits import Splits, provenance
from logprob.data.stand_ins import NOTE

PAD, START, UNKNOWN = 0, 1, 2
RESERVED = 3  # words are numbered from here


class Text(NamedTuple):
    """A review.

    Args:
        words: in order.
        score: in [0, 1].
        marks: ranges ``[start, end)`` of the words that speak of what is scored.
    """

    words: Sequence[str]
    score: float
    marks: Sequence[tuple[int, int]] = ()


class Reviews(NamedTuple):
    """Many reviews as arrays.

    Args:
        ids: word numbers, int64 ``(N, T)``.
        marks: whether a word is marked, bool ``(N, T)``.
        scores: float64 ``(N,)``.
    """

    ids: NDArray[Any]
    marks: NDArray[Any]
    scores: NDArray[Any]


def frequent_words(texts: Sequence[Text], minimum_count: int) -> dict[str, int]:
    """Numbers of the words that occur often enough, from 3 on; the most frequent first, then by the alphabet.

    Example:
        >>> frequent_words([Text("a dark and dark beer".split(), 0.5), Text(["beer"], 1.0)], minimum_count=2)
        {'beer': 3, 'dark': 4}
    """
    counts = Counter(word for text in texts for word in text.words)
    kept = [word for word, count in counts.items() if count >= minimum_count]
    return {word: RESERVED + i for i, word in enumerate(sorted(kept, key=lambda word: (-counts[word], word)))}


def encoded(texts: Sequence[Text], numbers: Mapping[str, int], length: int) -> Reviews:
    """Word numbers at the end of each row, 0 before them and 2 for unknown words; the first ``length`` words count.

    Example:
        >>> rows = encoded([Text("a dark beer".split(), 0.5, [(1, 2)])], {"beer": 3, "dark": 4}, length=5)
        >>> rows.ids.tolist(), rows.marks.astype(int).tolist()
        ([[0, 0, 2, 4, 3]], [[0, 0, 0, 1, 0]])
    """
    ids, marks = np.full((len(texts), length), PAD, dtype=np.int64), np.zeros((len(texts), length), dtype=bool)
    for row, text in enumerate(texts):
        words = text.words[:length]
        before = length - len(words)
        ids[row, before:] = [numbers.get(word, UNKNOWN) for word in words]
        for start, end in text.marks:
            marks[row, before + start : before + min(end, length)] = True
    return Reviews(ids, marks, np.array([text.score for text in texts], dtype=np.float64))


def reviews_dataset(
    name: str, rule: str, parts: Sequence[Reviews], categories: int, split: dict[str, Any], **more: Any
) -> Dataset:
    """The three splits; ``context`` is there if any word of them is marked.

    Args:
        name: of the data set.
        rule: that made it.
        parts: train, valid and test.
        categories: number of words, and 3.
        split: rule of the split.
        more: for the provenance.
    """
    marked = any(part.marks.any() for part in parts)
    train, valid, test = (_batch(part, marked) for part in parts)
    rows = Splits(*(part.ids for part in parts))
    made = provenance(rule, rows, split, words=categories - RESERVED, **more)
    return Dataset(name, train, valid, test, categories=categories, provenance=made)


def generated_reviews(name: str, rows: int, length: int, words: int, marked: bool) -> Dataset:
    """Independent uniform words, scores and marks, for smoke runs.

    Args:
        name: of the data set that it stands in for.
        rows: of each split.
        length: words of a row.
        words: of the vocabulary.
        marked: whether words are marked, in validation and test rows.

    Raises:
        ValueError: if ``rows`` is not positive.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    rng = np.random.default_rng(0)
    parts = []
    for split in range(3):
        ids = rng.integers(RESERVED, RESERVED + words, (rows, length))
        chosen = rng.random((rows, length)) < 0.2
        parts.append(Reviews(ids, chosen & (marked and split > 0), rng.random(rows)))
    drawn = {"rule": "drawn one after the other", "seed": 0}
    return reviews_dataset(f"{name} stand-in", "stand-in/1", parts, RESERVED + words, drawn, stand_in=NOTE)


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """The lines of a text file, through gzip if it is packed, without their ends.

    Raises:
        CorruptDataError: if it is no text of this encoding, or the gzip stream is broken.
    """
    with open_binary(path) as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield line.decode(encoding).rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise CorruptDataError(f"{path}, line {number}: not {encoding} text; {error}") from error


def _batch(part: Reviews, marked: bool) -> Batch:
    context = torch.from_numpy(part.marks) if marked else None
    return Batch(torch.from_numpy(part.ids), context, torch.from_numpy(part.scores))
