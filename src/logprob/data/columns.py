"""Columns that have no density: constant ones, and discrete ones that must be refused or dequantised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEW_VALUES = 20  # the usual reading of "a few levels"; rounded measurements have far more
FREQUENT = 0.05  # a value this common is an atom (a rain gauge's zero), not a rounding


def constant_columns(train: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True for each column that has at most one value in the training rows, missing values aside."""
    low = np.where(np.isnan(train), np.inf, train).min(axis=0)
    high = np.where(np.isnan(train), -np.inf, train).max(axis=0)
    return low >= high  # all missing: inf >= -inf


def is_discrete(column: NDArray[np.float64]) -> bool:
    """True if values repeat so much that a density of this column has no upper bound worth the name.

    That is: at most 20 distinct values, fewer than half as many as rows; or one value in 5 % of the rows (and
    at least 5 of them). Missing values do not count.

    Example:
        >>> is_discrete(np.arange(100) % 7.0), is_discrete(np.linspace(0, 1, 100))
        (True, False)
    """
    present = column[~np.isnan(column)]
    values, counts = np.unique(present, return_counts=True)
    few = len(values) <= min(FEW_VALUES, len(present) // 2)
    return bool(few or counts.max(initial=0) >= max(5, FREQUENT * len(present)))


def smallest_gap(column: NDArray[np.float64]) -> float:
    """Smallest difference between distinct values: the natural width of dequantisation noise."""
    return float(np.diff(np.unique(column[~np.isnan(column)])).min())


def noise_widths(
    discrete: Sequence[str], width: float | Mapping[str, float] | None, gaps: Mapping[str, float]
) -> dict[str, float]:
    """The stated width of every discrete column.

    Raises:
        ValueError: if a discrete column has no stated width, or a width is not positive; the smallest gaps
            are named.
    """
    widths = dict(width) if isinstance(width, Mapping) else dict.fromkeys(discrete, width)
    unstated = [name for name in discrete if widths.get(name) is None]
    if unstated:
        hint = ", ".join(f"{name!r}: {gaps[name]:g}" for name in unstated)
        raise ValueError(
            f'discrete="dequantise" needs a width for each discrete column; smallest gaps of values: {hint}'
        )
    stated = {name: float(value) for name, value in widths.items() if value is not None}
    wrong = {name: value for name, value in stated.items() if not 0 < value < np.inf}
    if wrong:
        raise ValueError(f"widths must be positive, got {wrong}")
    return stated


def duplicates(train: NDArray[Any], valid: NDArray[Any], test: NDArray[Any]) -> dict[str, int]:
    """Rows seen before: over all rows, and rows of test that are also training rows.

    Example:
        >>> a = np.array([[1.0], [2.0], [2.0]]); duplicates(a, a[:1] + 5, a[:1])
        {'rows': 2, 'test_rows_in_train': 1}
    """
    train, valid, test = (_as_bytes(part) for part in (train, valid, test))
    rows = np.concatenate([train, valid, test])
    return {"rows": len(rows) - len(np.unique(rows)), "test_rows_in_train": int(np.isin(test, train).sum())}


def _as_bytes(rows: NDArray[Any]) -> NDArray[Any]:
    rows = np.ascontiguousarray(rows + 0.0)  # makes -0.0 the same bytes as 0.0; NaN equals NaN as bytes
    return rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
