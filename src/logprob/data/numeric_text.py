"""Plain numeric tables in text: delimiter and header found out, missing cells as NaN, a bad cell named."""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from logprob.data.files import CorruptDataError, open_binary

MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "?"})  # compared in lower case


class NumericTable(NamedTuple):
    """Column names (``"0"``, ``"1"``, ... without a header), and values ``(N, D)``, NaN where missing."""

    names: tuple[str, ...]
    values: NDArray[np.float64]


def read_numeric_text(path: Path, delimiter: str | None = None, header: bool | None = None) -> NumericTable:
    """Read a table of numbers from a text file, gzipped or not.

    Cells ``''``, ``nan``, ``NA``, ``N/A``, ``null``, ``none`` and ``?`` are missing values. Lines starting
    with ``#`` and blank lines are skipped.

    Args:
        path: the file, UTF-8.
        delimiter: one character; by default ``;`` or ``,`` if the first line has one, else runs of white
            space.
        header: whether the first line names the columns; by default it does if none of its cells is a number.

    Raises:
        CorruptDataError: if the first line is half names and half numbers, a row has another length than the
            first, or a cell is no finite number; row (as numbered in the file) and column are named.
    """
    first = _first_line(path)
    if delimiter is None:
        delimiter = next((mark for mark in ";," if mark in first), None)
    cells = _cells(first, delimiter)
    if header is None:
        header = _is_header(path, cells)
    names = tuple(cells) if header else tuple(map(str, range(len(cells))))
    if len(set(names)) < len(names):
        raise CorruptDataError(f"{path}: column names must differ, got {', '.join(names)}")
    return NumericTable(names, _values(path, delimiter, header, names))


@contextmanager
def _text(path: Path) -> Iterator[io.TextIOWrapper]:
    with open_binary(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        try:
            yield text
        except UnicodeDecodeError as error:
            raise CorruptDataError(f"{path}: expected UTF-8 text; {error}") from error


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _first_line(path: Path) -> str:
    with _text(path) as lines:
        for line in lines:
            if _is_content(line):
                return line
    raise CorruptDataError(f"{path}: expected a table of numbers, found no row")


def _cells(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return [cell.strip('"') for cell in line.split()]
    return [cell.strip() for cell in next(csv.reader([line.strip("\r\n")], delimiter=delimiter))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_header(path: Path, cells: list[str]) -> bool:
    numbers = [_is_number(cell) for cell in cells]
    names = [not number and cell.lower() not in MISSING for cell, number in zip(cells, numbers, strict=True)]
    if any(names) and any(numbers):
        raise CorruptDataError(
            f"{path}: cannot tell whether the first line names the columns: "
            f"{cells[names.index(True)]!r} is no number, {cells[numbers.index(True)]!r} is one; "
            "say header=True or header=False"
        )
    return any(names)


def _values(path: Path, delimiter: str | None, header: bool, names: tuple[str, ...]) -> NDArray[np.float64]:
    """numpy's fast parser; where it stumbles, ours, which knows missing cells and names a bad one."""
    with _text(path) as lines:
        if header:
            next(line for line in lines if _is_content(line))
        try:
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # "no data": an error, below
                content = filter(_is_content, lines)  # numpy would cut a comment off the end of a cell, too
                values = np.loadtxt(
                    content, delimiter=delimiter, dtype=np.float64, ndmin=2, quotechar='"', comments=None
                )
        except ValueError:
            values = np.empty((0, 0))
    if len(values) == 0 or values.shape[1] != len(names) or np.isinf(values).any():
        values = _slow_values(path, delimiter, header, names)
    return values


def _slow_values(path: Path, delimiter: str | None, header: bool, names: tuple[str, ...]) -> NDArray[np.float64]:
    rows = []
    with _text(path) as lines:
        numbered = ((number, line) for number, line in enumerate(lines, start=1) if _is_content(line))
        if header:
            next(numbered)
        for number, line in numbered:
            cells = _cells(line, delimiter)
            if len(cells) != len(names):
                raise CorruptDataError(f"{path}: row {number} has {len(cells)} cells, expected {len(names)}")
            rows.append([_number(path, number, name, cell) for name, cell in zip(names, cells, strict=True)])
    if not rows:
        raise CorruptDataError(f"{path}: expected rows of numbers, found only a header")
    return np.array(rows)


def _number(path: Path, row: int, column: str, cell: str) -> float:
    if cell.lower() in MISSING:
        return math.nan
    value = float(cell) if _is_number(cell) and "_" not in cell else math.inf  # float() would take 1_000
    if math.isinf(value):
        raise CorruptDataError(f"{path}: row {row}, column {column!r}: expected a finite number, got {cell!r}")
    return value
