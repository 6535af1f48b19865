"""The contract between a model, a batch and a loss."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule

_NO_METRICS: Mapping[str, Tensor] = MappingProxyType({})


class Loss(NamedTuple):
    """A scalar to back-propagate, and named numbers that are only logged."""

    value: Tensor
    metrics: Mapping[str, Tensor] = _NO_METRICS


@runtime_checkable
class Objective(Protocol):
    """Anything callable as ``objective(model, batch) -> Loss``; an ``nn.Module`` if it has state."""

    def __call__(self, model: DistributionModule, batch: Batch) -> Loss:
        """Return the loss of ``model`` on ``batch``."""
        ...
