"""The contract of a metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from logprob.batch import Batch
from logprob.distributions import DistributionModule


@runtime_checkable
class Metric(Protocol):
    """Anything callable as ``metric(model, batch) -> {name: number}`` on a whole split."""

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Return named numbers; the names say the quantity, the class's docstring its unit and direction."""
        ...
