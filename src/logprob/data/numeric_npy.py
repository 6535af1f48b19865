"""Plain numeric tables in numpy's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from logprob.data.files import CorruptDataError
from logprob.data.numeric_text import NumericTable

SPLITS = ("train", "valid", "test")


def read_numeric_npy(path: Path) -> list[NumericTable]:
    """The array of a ``.npy``; of a ``.npz`` its arrays train, valid and test, or else everything in it.

    Columns are named by their position, ``"0"``, ``"1"``, ...; NaN is a missing value.

    Raises:
        CorruptDataError: if it is no such file, holds pickled objects, or an array is not 2-D and of finite
            numbers.
    """
    return [_table(path, array) for array in _arrays(path)]


def _arrays(path: Path) -> list[NDArray[Any]]:
    try:
        with path.open("rb") as stream:
            content = np.load(stream, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return [content]
            names = SPLITS if set(SPLITS) <= set(content.files) else content.files
            return [content[name] for name in names]
    except FileNotFoundError:
        raise
    except (ValueError, EOFError, OSError, BadZipFile) as error:
        reason = f"expected plain numpy arrays (pickled objects are never read); {error}"
        raise CorruptDataError(f"{path}: {reason}") from error


def _table(path: Path, array: NDArray[Any]) -> NumericTable:
    if array.ndim != 2 or array.dtype.kind not in "fiub" or 0 in array.shape:
        raise CorruptDataError(
            f"{path}: expected a 2-D array of numbers, got shape {array.shape} and type {array.dtype}"
        )
    values = array.astype(np.float64)
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        row, column = infinite[0].tolist()
        found = values[row, column]
        raise CorruptDataError(f"{path}: row {row}, column {column}: expected a finite number, got {found}")
    return NumericTable(tuple(map(str, range(values.shape[1]))), values)
