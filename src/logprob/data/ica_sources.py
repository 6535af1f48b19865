"""The generators of nonlinear ICA as data sources: published rows to train on, fresh ones to judge by."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from logprob.batch import Batch
from logprob.data import ica
from logprob.data.base import Dataset, DataSource
from logprob.data.ica_mixing import Activation
from logprob.data.ica_record import Law, NonlinearICA
from logprob.data.splits import Splits, provenance

RULE = "nonlinear-ica/1"
VALID, TEST = 1, 2  # seeds of the fresh rows, beside the data's own


@dataclass(frozen=True)
class _ICASources(DataSource):
    """Sizes that all generators share."""

    layers: int = 2
    per_segment: int = 500
    segments: int = 20
    dim: int = 5
    seed: int = 1
    valid: int = 50
    test: int = 500

    def __post_init__(self) -> None:
        if min(self.valid, self.test) < 1:
            raise ValueError(f"expected valid and test rows of each segment, got {self.valid} and {self.test}")

    @abstractmethod
    def record(self) -> NonlinearICA:
        """The training rows with their sources, mixing and exact density, float64."""

    def load(self, root: str | Path | None = None) -> Dataset:
        """Draw; ``root`` is not used, as nothing is read.

        Raises:
            ValueError: if a number is out of its range.
        """
        train = self.record()
        valid, test = train.more(self.valid, VALID), train.more(self.test, TEST)
        name = f"{train.name}-L{self.layers}-n{self.per_segment}"
        made = _made([train, valid, test])
        return Dataset(name, _batch(train), _batch(valid), _batch(test), provenance=made)

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """About as many rows of each split as asked for, at least two of every segment, made by the same rule."""
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        each = max(2, rows // self.segments)
        few = replace(self, per_segment=each, valid=each, test=each).load()
        note = f"{each} rows of each segment, for smoke runs"
        return replace(few, name=f"{few.name} stand-in", provenance={**few.provenance, "stand_in": note})


@dataclass(frozen=True)
class TCLSources(_ICASources):
    """Rotations and leaky ReLUs of independent sources whose scales change with the segment, :func:`ica.tcl`.

    ``Batch.x`` are observations, float32 ``(N, d)``; ``Batch.context`` the segments 0..K-1, int64 ``(N,)``;
    ``Batch.target`` the true sources, float32 ``(N, d)``: they are for metrics, no model may see them. Training rows
    are the published ones. Validation and test rows are fresh draws of the same law: same scales and mixing, new noise.
    ``provenance["truth"]`` holds the negative log-likelihood of the true law on every split, in nats.

    Args:
        layers: L of the mixing; one layer mixes nothing.
        per_segment: training rows of each segment.
        segments: K.
        dim: d.
        seed: of the data set.
        valid: validation rows of each segment.
        test: test rows of each segment.
        varying_means: sources also have a mean in each segment.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> data = TCLSources(layers=2, per_segment=100, test=20).load()
        >>> data.train.x.shape, data.train.context.max(), data.test.target.shape
        (torch.Size([2000, 5]), tensor(19), torch.Size([400, 5]))
    """

    varying_means: bool = False

    def record(self) -> NonlinearICA:
        """The training rows with their sources, mixing and exact density, float64."""
        return ica.tcl(self.segments, self.per_segment, self.layers, self.dim, self.seed, self.varying_means)


@dataclass(frozen=True)
class IMCASources(_ICASources):
    """Rotations and leaky ReLUs of sources that depend on one another within a segment, :func:`ica.imca`.

    Batches, splits and provenance are those of :class:`TCLSources`.

    Args:
        layers: L of the mixing; one layer mixes nothing.
        per_segment: training rows of each segment.
        segments: K.
        dim: d, at least 2.
        seed: of the data set.
        valid: validation rows of each segment.
        test: test rows of each segment.
        varying_means: sources also have a mean in each segment.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> data = IMCASources(per_segment=100).load()
        >>> data.name, round(data.provenance["truth"]["train"], 3)
        ('imca-L2-n100', -0.448)
    """

    varying_means: bool = False

    def record(self) -> NonlinearICA:
        """The training rows with their sources, mixing and exact density, float64."""
        return ica.imca(self.segments, self.per_segment, self.layers, self.dim, self.seed, self.varying_means)


@dataclass(frozen=True)
class NonstationarySources(_ICASources):
    """Independent Laplace or normal sources whose scales change with the segment, :func:`ica.nonstationary`.

    Batches, splits and provenance are those of :class:`TCLSources`.

    Args:
        layers: L of the mixing; one layer mixes nothing.
        per_segment: training rows of each segment.
        segments: K.
        dim: d.
        seed: of the data set.
        valid: validation rows of each segment.
        test: test rows of each segment.
        source: "laplace" or "gaussian".
        activation: "leaky" or "sigmoid".

    Raises:
        ValueError: if a number is out of its range, or a name unknown.

    Example:
        >>> NonstationarySources(per_segment=10, activation="sigmoid").load().train.x.shape
        torch.Size([200, 5])
    """

    source: Law = "laplace"
    activation: Activation = "leaky"

    def record(self) -> NonlinearICA:
        """The training rows with their sources, mixing and exact density, float64."""
        sizes = (self.segments, self.per_segment, self.layers, self.dim, self.seed)
        return ica.nonstationary(*sizes, self.source, self.activation)


def _batch(rows: NonlinearICA) -> Batch:
    x, sources = (torch.from_numpy(part).float() for part in (rows.x, rows.sources))
    return Batch(x, context=torch.from_numpy(rows.y), target=sources)


def _made(parts: list[NonlinearICA]) -> dict[str, Any]:
    train = parts[0]
    names = Splits._fields
    split = {
        "rule": "train: the published rows; valid and test: fresh rows of the same modulation and mixing",
        "seed": train.seed,
    }
    return provenance(
        RULE,
        Splits(*(part.x for part in parts)),
        split,
        conditions=train.segments,
        truth={name: part.nll() for name, part in zip(names, parts, strict=True)},
    )
