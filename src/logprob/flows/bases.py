"""What a flow maps data to: distributions with independent dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Laplace, Normal, Uniform, constraints

from logprob.distributions import DistributionModule


class _EventSum(Independent):
    """``Independent``, whose log-density of an empty batch torch cannot form."""

    def log_prob(self, value: Tensor) -> Tensor:
        each: Tensor = self.base_dist.log_prob(value)
        rank = self.reinterpreted_batch_ndims
        return each.flatten(each.dim() - rank).sum(-1) if rank else each


class _Logistic(Distribution):
    """Logistic variables. A uniform variable behind a logit would have density 0 beyond 17 in float32."""

    arg_constraints: ClassVar[dict[str, Any]] = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = loc, scale
        super().__init__(loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Logistic:
        return _Logistic(self.loc.expand(batch_shape), self.scale.expand(batch_shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * (math.pi**2 / 3)

    def log_prob(self, value: Tensor) -> Tensor:
        z = ((value - self.loc) / self.scale).abs()  # even; so nothing overflows
        return -(z + 2 * F.softplus(-z)) - self.scale.log()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        like = self.loc.expand(self._extended_shape(torch.Size(sample_shape)))
        tiny = torch.finfo(like.dtype).tiny  # rand gives 0, which has no logit
        return self.loc + self.scale * torch.rand_like(like).clamp(min=tiny).logit()


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


class StandardLogistic(_Standard):
    """Independent logistic variables of location 0 and scale 1 over an event of ``shape``.

    ``log p(z) = -sum_i [z_i + 2 log(1 + exp(-z_i))]``, the law of ``log(u / (1 - u))`` for uniform u; its variance is
    ``pi^2 / 3``.

    Example:
        >>> import torch
        >>> StandardLogistic(2)().log_prob(torch.zeros(2)) + 2 * torch.log(torch.tensor(4.0))
        tensor(0.)
    """

    def forward(self, context: Tensor | None = None) -> Distribution:
        """The distribution; ``context`` is not used."""
        return self._independent(_Logistic, 0.0, 1.0)


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
