"""Synthetic data on the plane whose true density is known: the ceiling of every model is a number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from logprob.data.base import Dataset, DataSource
from logprob.data.names import check_name
from logprob.data.planar import LAWS
from logprob.data.planar_law import Points
from logprob.data.splits import Splits, batches, provenance, seeded_split, standardisation
from logprob.transforms import Affine

RULE = "synthetic-2d/1"


@dataclass(frozen=True)
class Synthetic2D(DataSource):
    """Rows of a planar law, as the squared-circuit experiments draw, split and standardise them.

    ``1.3 train`` rows are drawn from ``RandomState(seed)``; funnel and cosine are turned by +45 degrees about
    the mean of all rows; the split is :func:`~logprob.data.splits.seeded_split` with the same seed,
    ``train/10`` rows valid and ``train/5`` test; rows are standardised by the training rows' mean and
    population standard deviation. ``Dataset.true_log_prob`` is the exact log-density in the units of ``x``:
    ``log p(source units) + sum_d log std_d``.

    Args:
        name: ring, mring, banana, funnel, cosine, spiral, moons, checkerboard, eight_gaussians, gaussian, sine,
            trimodal, trimodal2, smile, two_spirals or rings.
        train: training rows, at least 10.
        seed: of the rows and of the split.
        standardize: whether ``x`` is standardised; ``Dataset.transform`` leads back.
        bins: if given, each axis is cut into so many equal bins and ``x`` holds their numbers (categorical
            data).
        binning: "train" places the bins between the extremes of the training rows and clips the others into
            them; "published" places them between the extremes of *all* rows, test included, as the published
            results do.

    Raises:
        ValueError: if the name is unknown, or a number is out of its range.

    Example:
        >>> data = Synthetic2D("ring", train=1000).load()
        >>> data.train.x.shape, data.test.x.dtype, data.true_log_prob(data.test.x).shape
        (torch.Size([1000, 2]), torch.float64, torch.Size([200]))
    """

    name: str = "ring"
    train: int = 10_000
    seed: int = 42
    standardize: bool = True
    bins: int | None = None
    binning: Literal["train", "published"] = "train"

    def __post_init__(self) -> None:
        check_name("planar law", self.name, LAWS)
        check_name("binning", self.binning, ("train", "published"))
        if self.train < 10:
            raise ValueError(f"train must be at least 10, so that every split has a row; got {self.train}")
        if self.bins is not None and self.bins < 2:
            raise ValueError(f"bins must be at least 2, or None for continuous rows; got {self.bins}")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Draw, split, and standardise or cut into bins; ``root`` is not used, as nothing is read."""
        valid, test = self.train // 10, self.train // 5
        rows, centre = self._draw(self.train + valid + test)
        splits = seeded_split(len(rows), valid, test, self.seed).of(rows)
        parts = {"law": self.name, "rotation_center": None if centre is None else centre.tolist()}
        if self.bins is not None:
            return self._binned(splits, parts)
        affine = standardisation(splits.train) if self.standardize else None
        x = [torch.from_numpy(part) for part in splits]
        if affine is not None:
            x = [affine.inv(part) for part in x]
        return Dataset(
            self.name,
            *batches(x),
            transform=affine,
            true_log_prob=partial(_true_log_prob, name=self.name, affine=affine, centre=centre),
            provenance=self._provenance(splits, standardisation=affine, **parts),
        )

    def _draw(self, rows: int) -> tuple[Points, Points | None]:
        law = LAWS[self.name]
        points = law.sample(RandomState(self.seed), rows)
        if not law.rotated:
            return points, None
        centre = points.mean(axis=0)
        return _rotate(points, centre, math.pi / 4), centre

    def _binned(self, splits: Splits, parts: dict[str, Any]) -> Dataset:
        # equal bins between extremes do not change under standardisation, so the rows are cut as they are
        assert self.bins is not None
        reference = splits.train if self.binning == "train" else np.concatenate(splits)
        low, high = reference.min(axis=0), reference.max(axis=0)
        codes = Splits(*(_codes(part, low, high, self.bins) for part in splits))
        clipped = [int(((part < low) | (part > high)).any(axis=1).sum()) for part in splits]
        parts["bins"] = {
            "count": self.bins,
            "placed_by": "training rows" if self.binning == "train" else "all rows, as published",
            "low": low.tolist(),
            "high": high.tolist(),
            "rows_clipped": dict(zip(splits._fields, clipped, strict=True)),
        }
        return Dataset(
            f"{self.name}-{self.bins}-bins",
            *batches(codes),
            categories=self.bins,
            provenance=self._provenance(codes, **parts),
        )

    def _provenance(self, splits: Splits, **parts: Any) -> dict[str, Any]:
        split = {"rule": "RandomState(seed).permutation: valid, test, train", "seed": self.seed}
        return provenance(RULE, splits, split, **parts)


def _rotate(points: Points, centre: Points, angle: float) -> Points:
    """Turn counter-clockwise about ``centre``."""
    cos, sin = math.cos(angle), math.sin(angle)
    return (points - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre


def _codes(rows: Points, low: Points, high: Points, bins: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Bin numbers ``0..bins-1`` of equal bins on [low, high]; rows outside go to the nearest bin."""
    codes = np.floor((rows - low) / (high - low) * bins)
    return np.clip(codes, 0, bins - 1).astype(np.int64)


def _true_log_prob(x: Tensor, name: str, affine: Affine | None, centre: Points | None) -> Tensor:
    """The law's log-density in the units of ``x``: back through standardisation and rotation."""
    point, log_volume = x.double(), torch.zeros(())
    if affine is not None:
        point, log_volume = affine.call_and_ladj(point)
    if centre is not None:  # back by 45 degrees; a rotation keeps volumes
        c = torch.from_numpy(centre)
        cos = sin = math.sqrt(0.5)
        point = (point - c) @ torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64) + c
    return LAWS[name].log_density(point) + log_volume
