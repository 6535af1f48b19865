"""What Pyro asks of a distribution beyond what torch does. Pyro is imported when one of these is called, not before."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

_MODULE = "pyro.distributions.torch_distribution"


class PyroInterface(Distribution):
    """The methods by which Pyro's inference speaks to a distribution of torch.

    With them ``pyro.sample(name, law)`` works in a model and in a guide. Pyro widens a law inside of a plate only if it
    takes the law for one of its own; :meth:`_introduce` says so to Pyro, by the registry that Python's abstract classes
    have for it, as soon as Pyro is in use. Where Pyro is not imported nothing happens.

    Example:
        >>> import torch
        >>> class Bell(PyroInterface, torch.distributions.Normal):
        ...     pass
        >>> Bell(torch.zeros(3), torch.ones(3)).shape((2,))
        torch.Size([2, 3])
    """

    @classmethod
    def _introduce(cls) -> None:
        """Name this class to Pyro, if that is in use; to be called where instances are made."""
        if not torch.compiler.is_compiling() and _MODULE in sys.modules and not issubclass(cls, _mixin()):
            _mixin().register(cls)

    def __call__(self, sample_shape: Any = ()) -> Tensor:
        """A sample, reparameterised if there is such a one."""
        return self.rsample(sample_shape) if self.has_rsample else self.sample(sample_shape)

    @property
    def event_dim(self) -> int:
        """Number of dimensions of an event."""
        return len(self.event_shape)

    def shape(self, sample_shape: Any = ()) -> torch.Size:
        """Shape of samples."""
        return torch.Size((*sample_shape, *self.batch_shape, *self.event_shape))

    def expand_by(self, sample_shape: Any) -> Any:
        """The law with more batch dimensions on the left."""
        return self.expand(torch.Size((*sample_shape, *self.batch_shape)))

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> Any:
        """The law whose rightmost batch dimensions, all if not said, belong to the event."""
        return _mixin().to_event(self, reinterpreted_batch_ndims)

    def mask(self, mask: Any) -> Any:
        """The law whose log-density counts where a mask is true."""
        return _mixin().mask(self, mask)

    def score_parts(self, value: Tensor) -> Any:
        """The terms of Pyro's gradient estimators."""
        return _mixin().score_parts(self, value)


def _mixin() -> Any:
    """The class in which Pyro adds these methods to the distributions of torch."""
    return importlib.import_module(_MODULE).TorchDistributionMixin
