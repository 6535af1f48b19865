"""What a flow maps data to: distributions with independent dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Laplace, Normal, Uniform

from logprob.distributions import DistributionModule


class _EventSum(Independent):
    """``Independent``, whose log-density of an empty batch torch cannot form."""

    def log_prob(self, value: Tensor) -> Tensor:
        each: Tensor = self.base_dist.log_prob(value)
        rank = self.reinterpreted_batch_ndims
        return each.flatten(each.dim() - rank).sum(-1) if rank else each


class _Standard(DistributionModule):
    """Independent standard variables of a given shape; it has no parameters."""

    def __init__(self, shape: int | Sequence[int]) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        # Its only use is to follow the module's device and dtype.
        self.register_buffer("zero", torch.zeros(()), persistent=False)
        self.zero: Tensor

    def extra_repr(self) -> str:
        """The shape."""
        return str(self.shape)

    def _independent(self, kind: Callable[..., Distribution], first: float, second: float) -> Distribution:
        a, b = ((self.zero + value).expand(self.shape) for value in (first, second))
        return _EventSum(kind(a, b, validate_args=False), len(self.shape), validate_args=False)


class StandardNormal(_Standard):
    """``N(0, I)`` over an event of ``shape``.

    Example:
        >>> StandardNormal((3, 4, 4))().event_shape
        torch.Size([3, 4, 4])
    """

    def forward(self, context: Tensor | None = None) -> Distribution:
        """The distribution; ``context`` is not used."""
        return self._independent(Normal, 0.0, 1.0)


class StandardLaplace(_Standard):
    """Independent Laplace variables of location 0 and scale 1 over an event of ``shape``."""

    def forward(self, context: Tensor | None = None) -> Distribution:
        """The distribution; ``context`` is not used."""
        return self._independent(Laplace, 0.0, 1.0)


class StandardUniform(_Standard):
    """Independent uniform variables on [0, 1] over an event of ``shape``; log-density -inf outside."""

    def forward(self, context: Tensor | None = None) -> Distribution:
        """The distribution; ``context`` is not used."""
        return self._independent(Uniform, 0.0, 1.0)


class ConditionalNormal(DistributionModule):
    """``N(loc(context), diag(scale(context))^2)`` over an event of ``shape``.

    Args:
        shape: of the event.
        network: maps the context ``(B, C)`` to ``(B, 2 D)``: the locations, then the logarithms of the scales.

    Raises:
        ValueError: when called without a context, or if the network gives another width.
    """

    def __init__(self, shape: int | Sequence[int], network: nn.Module) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.network = network

    def forward(self, context: Tensor | None = None) -> Distribution:
        """The distribution, of batch shape ``(B,)``."""
        if context is None:
            raise ValueError("a conditional base needs a context")
        loc, log_scale = self.network(context).chunk(2, dim=-1)
        loc, log_scale = (part.reshape(*part.shape[:-1], *self.shape) for part in (loc, log_scale))
        return _EventSum(Normal(loc, log_scale.exp(), validate_args=False), len(self.shape), validate_args=False)
