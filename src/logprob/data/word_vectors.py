"""A vector for every word number: read from a file, or drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from logprob.data.files import CorruptDataError, MissingDataError, Origin, find_files
from logprob.data.reviews import RESERVED, read_lines


@dataclass(frozen=True)
class RandomVectors:
    """Independent normal vectors of mean square length 1, and zeros for padding.

    Args:
        dimension: of a vector.
        seed: of the vectors; torch's global generator is not touched.

    Raises:
        ValueError: if ``dimension`` is not positive.

    Example:
        >>> RandomVectors(50)(categories=2003).shape
        torch.Size([2003, 50])
    """

    dimension: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise ValueError(f"dimension must be at least 1, got {self.dimension}")

    def __call__(self, categories: int) -> Tensor:
        """Vectors of all word numbers ``0..categories-1``, float32 ``(categories, dimension)``."""
        generator = torch.Generator().manual_seed(self.seed)
        vectors = torch.randn(categories, self.dimension, generator=generator) / self.dimension**0.5
        vectors[0] = 0.0
        return vectors


@dataclass(frozen=True)
class WordVectors:
    """The vectors of a text file, a line ``word v_1 ... v_d`` each; a first line ``count d`` is passed over.

    The first word of the file has number 3, as in the data sets whose vocabulary is that file; padding, start and
    unknown words have zeros.

    Args:
        path: of the file, with or without ``.gz``, found as data files are.
        fallback: what gives vectors where there is no such file: for smoke runs of a recipe whose data set needs the
            file anyway.

    Example:
        >>> WordVectors("beer/review+wiki.filtered.200.txt", fallback=RandomVectors(200))(categories=10).shape
        torch.Size([10, 200])
    """

    path: str
    fallback: RandomVectors | None = None

    def __call__(self, categories: int) -> Tensor:
        """Zeros for the numbers 0, 1 and 2, and the first ``categories - 3`` vectors; float32 ``(categories, d)``.

        Raises:
            MissingDataError: if the file is not found, and there is no fallback.
            CorruptDataError: if a line is no word with numbers, as many as in the others.
            ValueError: if the file has fewer words.
        """
        try:
            path = find_word_vectors(self.path)
        except MissingDataError:
            if self.fallback is None:
                raise
            return self.fallback(categories)
        words = categories - RESERVED
        rows = [_numbers(path, word, rest) for word, rest in islice(_lines(path), words)]
        if len(rows) < max(words, 1):
            raise ValueError(f"{path} has {len(rows)} words, and {words} were asked for")
        if len({len(row) for row in rows}) > 1:
            raise CorruptDataError(f"{path}: expected vectors of one length, got {sorted({len(r) for r in rows})}")
        vectors = torch.from_numpy(np.stack(rows))
        return torch.cat([vectors.new_zeros(RESERVED, vectors.shape[1]), vectors])


def find_word_vectors(path: str, root: str | Path | None = None) -> Path:
    """Where the file is.

    Args:
        path: below one of the folders of data, or absolute; with or without ``.gz``.
        root: searched before the other folders.

    Raises:
        MissingDataError: if it is nowhere.
    """
    plain = path.removesuffix(".gz")
    origin = Origin("word vectors", "any text file with a line `word v_1 ... v_d` for every word")
    found = find_files(origin, [[plain], [f"{plain}.gz"]], root)
    return found.path(found.names[0])


def word_numbers(path: Path) -> dict[str, int]:
    """Numbers of the words of a file of vectors, by line; of a word that is there twice the first."""
    numbers: dict[str, int] = {}
    for number, (word, _) in enumerate(_lines(path), RESERVED):
        numbers.setdefault(word, number)
    return numbers


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Word and rest of each line."""
    for number, line in enumerate(read_lines(path)):
        word, _, rest = line.rstrip().partition(" ")
        if number or len(rest.split()) > 1 or not (word + rest).isdigit():  # else a header: count and length
            yield word, rest


def _numbers(path: Path, word: str, rest: str) -> np.ndarray:
    try:
        return np.array(rest.split(), dtype=np.float32)
    except ValueError as error:
        raise CorruptDataError(f"{path}: expected numbers after the word {word!r}; {error}") from error
