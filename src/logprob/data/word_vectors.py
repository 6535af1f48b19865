"""Word vectors from a text file, for the words of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logprob.data.files import CorruptDataError
from logprob.data.reviews import RESERVED, read_lines


def read_word_vectors(path: str | Path, numbers: Mapping[str, int]) -> NDArray[np.float32]:
    """The vectors of a vocabulary from a text file with a line ``word v_1 ... v_d`` for each word.

    Saved with ``numpy.save``, they are what :class:`logprob.nn.WordVectors` reads.

    Args:
        path: of the file, packed with gzip or not. A first line ``count d`` is passed over; of a word that is there
            twice the first vector counts.
        numbers: of the words, such as ``Sentiment().vocabulary()`` gives.

    Returns: an array ``(categories, d)``; zeros for padding, start, the unknown word and words that the file has not.

    Raises:
        CorruptDataError: if the vector of a word is no numbers, or of another length than the first one.
        ValueError: if the file has none of the words.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "vectors.txt").write_text("beer 0.5 1\\nale 0 2\\n")
        ...     read_word_vectors(Path(folder, "vectors.txt"), {"ale": 3, "dark": 4}).tolist()
        [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 2.0], [0.0, 0.0]]
    """
    found = _found(Path(path), numbers)
    if not found:
        raise ValueError(f"{path} has none of the {len(numbers)} words")
    dimensions = len(next(iter(found.values())))
    vectors = np.zeros((1 + max(numbers.values(), default=RESERVED - 1), dimensions), dtype=np.float32)
    for word, vector in found.items():
        if len(vector) != dimensions:
            raise CorruptDataError(f"{path}: expected {dimensions} numbers after {word!r}, got {len(vector)}")
        vectors[numbers[word]] = vector
    return vectors


def _found(path: Path, numbers: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for line, text in enumerate(read_lines(path)):
        word, _, rest = text.rstrip().partition(" ")
        header = line == 0 and word.isdigit() and rest.isdigit()
        if word in numbers and word not in found and not header:
            found[word] = _parsed(path, word, rest)
    return found


def _parsed(path: Path, word: str, rest: str) -> NDArray[Any]:
    try:
        return np.array(rest.split(), dtype=np.float32)
    except ValueError as error:
        raise CorruptDataError(f"{path}: expected numbers after the word {word!r}; {error}") from error
