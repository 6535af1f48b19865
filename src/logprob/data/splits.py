"""Train, validation and test: the split, standardisation by the training rows, the hash of the content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from torch import Tensor

from logprob.batch import Batch
from logprob.transforms import Affine

Array = NDArray[Any]
Batches = tuple[Batch, Batch, Batch]


class Splits(NamedTuple):
    """Three arrays of rows, or of row numbers."""

    train: Array
    valid: Array
    test: Array

    def of(self, rows: Array) -> Splits:
        """The rows that these row numbers select."""
        return Splits(*(rows[index] for index in self))

    def counts(self) -> dict[str, int]:
        """Number of rows of each split."""
        return {name: len(part) for name, part in self._asdict().items()}


FILE_ORDER = "order of the files; the last training images are valid"


def in_file_order(train: Array, test: Array, valid: int) -> Splits:
    """The splits of :data:`FILE_ORDER`: the last ``valid`` training rows validate, and nothing is shuffled."""
    return Splits(train[:-valid], train[-valid:], test)


def split_size(size: float, rows: int, what: str) -> int:
    """Rows of a split: a fraction below 1, rounded down, or a whole number of rows.

    Raises:
        ValueError: if ``size`` is neither, or leaves this split or the rest without a row.

    Example:
        >>> split_size(0.1, 1797, "valid"), split_size(500, 1797, "valid")
        (179, 500)
    """
    if not (0 < size < 1 or (size >= 1 and float(size).is_integer())):
        raise ValueError(f"{what} must be a fraction in (0, 1) or a whole number of rows, got {size}")
    count = int(size * rows) if size < 1 else int(size)
    if not 0 < count < rows:
        raise ValueError(f"{what}={size} of {rows} rows gives {count} rows; it must leave some on both sides")
    return count


def seeded_split(rows: int, valid: int, test: int, seed: int) -> Splits:
    """Row numbers of a shuffled split: ``p = RandomState(seed).permutation(rows)``, valid first, then test,
    rest train.

    Raises:
        ValueError: if a split would be empty.

    Example:
        >>> seeded_split(13, valid=1, test=2, seed=42).counts()
        {'train': 10, 'valid': 1, 'test': 2}
    """
    _check_counts(rows, valid, test)
    order = RandomState(seed).permutation(rows)
    return Splits(order[valid + test :], order[:valid], order[valid : valid + test])


def tail_split(rows: int, valid: int, test: int) -> Splits:
    """Row numbers in the order of the file: train, then valid, and test at the end.

    Raises:
        ValueError: if a split would be empty.
    """
    _check_counts(rows, valid, test)
    order = np.arange(rows)
    train = rows - valid - test
    return Splits(order[:train], order[train : train + valid], order[train + valid :])


def _check_counts(rows: int, valid: int, test: int) -> None:
    if min(valid, test, rows - valid - test) < 1:
        raise ValueError(
            f"every split needs a row: {rows} rows, {valid} of them valid and {test} test, "
            f"leave {rows - valid - test} to train on"
        )


def standardisation(train: Array) -> Affine:
    """The map from standardised rows back to the rows' units: mean and population deviation, missing values
    left out.

    Raises:
        ValueError: if a column is constant, or has no value at all.

    Example:
        >>> standardisation(np.array([[0.0, 1.0], [2.0, np.nan], [4.0, 3.0]])).loc
        tensor([2., 2.], dtype=torch.float64)
    """
    empty = np.isnan(train).all(axis=0)
    if empty.any():
        raise ValueError(f"columns without any value in the training rows: {np.flatnonzero(empty).tolist()}")
    return Affine(torch.from_numpy(np.nanmean(train, axis=0)), torch.from_numpy(np.nanstd(train, axis=0)))


def batches(rows: Iterable[Array | Tensor], targets: Iterable[Array] | None = None) -> Batches:
    """The three splits as :class:`~logprob.batch.Batch`, with ``targets`` if there are any."""
    x = [torch.as_tensor(part) for part in rows]
    y = [None] * 3 if targets is None else [torch.as_tensor(part) for part in targets]
    train, valid, test = (Batch(rows, target=target) for rows, target in zip(x, y, strict=True))
    return train, valid, test


def content_sha256(arrays: Sequence[Array]) -> str:
    """SHA-256 over the arrays' little-endian rows, each after its type and shape.

    It is taken of the canonical arrays, in the units of the source and in the source's type, so that it names
    the data and the split, not what a model is fed.

    Example:
        >>> content_sha256([np.arange(3)]) == content_sha256([np.arange(3)]) != content_sha256([np.arange(4)])
        True
    """
    digest = hashlib.sha256()
    for array in arrays:
        canonical = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{canonical.dtype.str}{canonical.shape}".encode())
        digest.update(canonical.data if canonical.size else b"")
    return digest.hexdigest()


def provenance(rule: str, splits: Splits, split: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """What every data set tells of its making; JSON-serialisable.

    Args:
        rule: name and version of the rule that made it, such as ``table/1``.
        splits: the three canonical arrays.
        split: the split's rule, and its seed if it has one.
        parts: ``files``, ``standardisation``, ``dropped_columns`` and whatever else the rule reports.

    Returns: the parts, with the keys ``rule``, ``files``, ``split`` (with ``counts``), ``standardisation``,
        ``dropped_columns`` and ``content_sha256`` always present.
    """
    affine: Affine | None = parts.pop("standardisation", None)
    moments = None if affine is None else {"mean": affine.loc.tolist(), "std": affine.scale.tolist()}
    return {
        "rule": rule,
        "files": parts.pop("files", []),
        "split": {**split, "counts": splits.counts()},
        "standardisation": moments,
        "dropped_columns": parts.pop("dropped_columns", []),
        "content_sha256": content_sha256(splits),
        **parts,
    }
