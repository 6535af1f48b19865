"""Standard normal noise: data for studies of time, where the model may not profit from the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from logprob.data.base import Dataset, DataSource
from logprob.data.splits import Splits, batches, provenance

RULE = "gaussian-noise/1"


@dataclass(frozen=True)
class GaussianNoise(DataSource):
    """Independent standard normal rows, float32.

    One torch generator draws train, valid and test in this order. ``Dataset.true_log_prob`` is the density
    ``-(|x|^2 + D log 2 pi) / 2``, in float64. Half the memory of the usual float64 is what studies with thousands of
    variables need.

    Args:
        variables: D.
        rows: of the training split; the published time study has 49,900 + 100 + 100.
        valid: rows.
        test: rows.
        image: whether a row counts as an image of shape ``(1, D, 1)``.
        seed: of the rows.

    Raises:
        ValueError: if a number is not positive.

    Example:
        >>> data = GaussianNoise(32, rows=1000, image=True).load()
        >>> data.train.x.shape, data.image_shape
        (torch.Size([1000, 32]), (1, 32, 1))
    """

    variables: int
    rows: int = 49_900
    valid: int = 100
    test: int = 100
    image: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("variables", "rows", "valid", "test"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Draw; ``root`` is not used, as nothing is read."""
        generator = torch.Generator().manual_seed(self.seed)
        x = [torch.randn(n, self.variables, generator=generator) for n in (self.rows, self.valid, self.test)]
        split = {"rule": "drawn one after the other", "seed": self.seed}
        return Dataset(
            "gaussian-noise",
            *batches(x),
            image_shape=(1, self.variables, 1) if self.image else None,
            true_log_prob=_standard_normal,
            provenance=provenance(RULE, Splits(*(part.numpy() for part in x)), split),
        )


def _standard_normal(x: Tensor) -> Tensor:
    return -0.5 * (x.double().square().sum(-1) + x.shape[-1] * math.log(2 * math.pi))
