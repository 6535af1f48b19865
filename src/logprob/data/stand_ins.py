"""Generated rows for smoke runs: right in shape and type, and meaningless."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from logprob.data.base import Dataset
from logprob.data.splits import Splits, batches, provenance

RULE = "stand-in/1"
SEED = 0
NOTE = "generated stand-in; numbers mean nothing"


def generated_codes(
    name: str,
    rows: int,
    variables: int,
    categories: int,
    dtype: DTypeLike = np.int64,
    image_shape: tuple[int, int, int] | None = None,
    labels: int | None = None,
) -> Dataset:
    """Independent uniform codes.

    Args:
        name: of the data set that it stands in for.
        rows: of each split.
        variables: of a row.
        categories: codes are 0..categories-1.
        dtype: of the codes.
        image_shape: of a row, if it is an image.
        labels: number of classes of ``target``, if there is one.

    Raises:
        ValueError: if ``rows`` is not positive.

    Example:
        >>> data = generated_codes("plants", rows=5, variables=69, categories=2)
        >>> data.name, data.train.x.shape, data.provenance["stand_in"]
        ('plants stand-in', torch.Size([5, 69]), 'generated stand-in; numbers mean nothing')
    """
    rng = _generator(rows)
    x = Splits(*(rng.integers(0, categories, (rows, variables), dtype=np.int64).astype(dtype) for _ in range(3)))
    targets = None if labels is None else [rng.integers(0, labels, rows, dtype=np.int64) for _ in range(3)]
    return Dataset(
        f"{name} stand-in",
        *batches(x, targets),
        categories=categories,
        image_shape=image_shape,
        provenance=_provenance(x),
    )


def generated_values(name: str, rows: int, variables: int) -> Dataset:
    """Independent standard normal values, float64.

    Raises:
        ValueError: if ``rows`` is not positive.
    """
    rng = _generator(rows)
    x = Splits(*(rng.standard_normal((rows, variables)) for _ in range(3)))
    return Dataset(f"{name} stand-in", *batches(x), provenance=_provenance(x))


def _generator(rows: int) -> np.random.Generator:
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    return np.random.default_rng(SEED)


def _provenance(rows: Splits) -> dict[str, Any]:
    return provenance(RULE, rows, {"rule": "drawn one after the other", "seed": SEED}, stand_in=NOTE)
