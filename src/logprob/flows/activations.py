"""Elementwise layers without a network: increasing functions between the linear layers of a flow."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from logprob.flows.base import FlowLayer, InverseMethod

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772
"""Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017: mean 0 and variance 1 are a fixed point."""


class SmoothLeakyReLU(FlowLayer):
    """``z = alpha x + (1 - alpha) log(1 + exp(x))``, elementwise.

    The inverse has no closed form. The function is convex and at least ``max(alpha x, x)``, so Newton's method from
    ``min(z, z / alpha)`` decreases to the root without a safeguard. Gradients of it follow the implicit function rule.

    Args:
        alpha: slope far on the left, between 0 and 1; far on the right it is 1.

    Raises:
        ValueError: if ``alpha`` is not between 0 and 1.

    Example:
        >>> import torch
        >>> layer, x = SmoothLeakyReLU(0.3), torch.linspace(-50, 50, 11).reshape(1, 11)
        >>> bool((layer.inverse(layer(x)[0]) - x).abs().max() < 1e-5)
        True
    """

    def __init__(self, alpha: float = 0.3) -> None:
        super().__init__()
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
        self.alpha = alpha

    def extra_repr(self) -> str:
        """The slope."""
        return f"alpha={self.alpha}"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        return self._value(x), row_sum(self._slope(x).log())

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The root, to rounding."""
        return implicit_inverse(z, self._solve, self._slope)

    def _value(self, x: Tensor) -> Tensor:
        # Above 40 the difference of softplus to x is below the rounding of float64; torch's default of 20 is not.
        return self.alpha * x + (1 - self.alpha) * F.softplus(x, threshold=40)

    def _slope(self, x: Tensor) -> Tensor:
        return self.alpha + (1 - self.alpha) * x.sigmoid()

    def _solve(self, z: Tensor) -> Tensor:
        start = torch.minimum(z, z / self.alpha)
        return newton(z, start, self._value, self._slope, 5 + math.ceil(-math.log2(self.alpha) / 2))


class SmoothTanh(FlowLayer):
    """``z = tanh(alpha x) + beta x``, elementwise.

    The function is odd and concave on the right, so Newton's method from a point on the left of the root of ``|z|``
    increases to it without a safeguard. Gradients of the inverse follow the implicit function rule.

    Args:
        alpha: slope of the hyperbolic tangent, positive.
        beta: slope far from zero, positive.

    Raises:
        ValueError: if either is not positive.
    """

    def __init__(self, alpha: float = 1.0, beta: float = 0.1) -> None:
        super().__init__()
        if not (alpha > 0 and beta > 0):
            raise ValueError(f"alpha and beta must be positive, got {alpha} and {beta}")
        self.alpha, self.beta = alpha, beta

    def extra_repr(self) -> str:
        """The slopes."""
        return f"alpha={self.alpha}, beta={self.beta}"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        return self._value(x), row_sum(self._slope(x).log())

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The root, to rounding."""
        return implicit_inverse(z, self._solve, self._slope)

    def _value(self, x: Tensor) -> Tensor:
        return torch.tanh(self.alpha * x) + self.beta * x

    def _slope(self, x: Tensor) -> Tensor:
        return self.beta + self.alpha * (1 - torch.tanh(self.alpha * x).square())

    def _solve(self, z: Tensor) -> Tensor:
        size = z.abs()
        # Both are on the left of the root: f(x) <= (alpha + beta) x, and f(x) <= 1 + beta x.
        start = torch.maximum(size / (self.alpha + self.beta), (size - 1) / self.beta)
        steps = 6 + math.ceil(max(0.0, math.log2(self.alpha / self.beta)) / 2)
        return newton(size, start, self._value, self._slope, steps) * z.sign()


class LeakyReLU(FlowLayer):
    """``z = x`` where x is positive and ``slope x`` elsewhere.

    Args:
        slope: positive.

    Raises:
        ValueError: if it is not.
    """

    def __init__(self, slope: float = 0.1) -> None:
        super().__init__()
        if not slope > 0:
            raise ValueError(f"slope must be positive, got {slope}")
        self.slope = slope

    def extra_repr(self) -> str:
        """The slope."""
        return f"slope={self.slope}"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        left = x < 0
        return torch.where(left, self.slope * x, x), math.log(self.slope) * row_sum(left.to(x.dtype))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Exact inverse."""
        return torch.where(z < 0, z / self.slope, z)


class LearnableLeakyReLU(FlowLayer):
    """``z = x`` where x is positive and ``(sigmoid(p) + 1/2) x`` elsewhere, with one learned number p.

    The slope stays between 0.5 and 1.5; it starts at 1, the identity.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alpha_logit = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        left, slope = x < 0, self._slope()
        return torch.where(left, slope * x, x), slope.log() * row_sum(left.to(x.dtype))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Exact inverse."""
        return torch.where(z < 0, z / self._slope(), z)

    def _slope(self) -> Tensor:
        return self.alpha_logit.sigmoid() + 0.5


class SELU(FlowLayer):
    """``z = l x`` where x is positive and ``l a (exp(x) - 1)`` elsewhere: not onto the real line.

    Outputs stay above ``-l a = -1.758``. What the base distribution gives to values below is lost: the density of
    a flow through this layer has a total mass below one, so its log-likelihoods are too low, and samples that call
    for such a value raise.

    Warns:
        UserWarning: when it is made, saying so.

    References:
        Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017.
    """

    def __init__(self) -> None:
        super().__init__()
        warnings.warn(
            f"SELU maps onto values above {-_SELU_SCALE * _SELU_ALPHA:.3f} only, so a density through it has a total "
            "mass below one; SmoothLeakyReLU maps onto the real line",
            UserWarning,
            stacklevel=2,
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        left = math.log(_SELU_SCALE * _SELU_ALPHA) + x
        return F.selu(x), row_sum(torch.where(x > 0, math.log(_SELU_SCALE), left))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Exact inverse.

        Raises:
            ValueError: if a value is not above -1.758.
        """
        lowest = -_SELU_SCALE * _SELU_ALPHA
        if bool((z <= lowest).any()):
            raise ValueError(f"SELU has no inverse at or below {lowest:.4f}, got {z.min().item():.4f}")
        left = torch.log1p(z.clamp(max=0) / -lowest)
        return torch.where(z > 0, z / _SELU_SCALE, left)


class Identity(FlowLayer):
    """``z = x``."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The input and zeros."""
        return x, x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The output itself."""
        return z


def row_sum(ladj: Tensor) -> Tensor:
    """Sum over all but the first dimension.

    Raises:
        ValueError: if there is only one.
    """
    if ladj.dim() < 2:
        raise ValueError(f"expected a batch of events (B, *event), got the shape {tuple(ladj.shape)}")
    return ladj.flatten(1).sum(1)


def newton(
    z: Tensor, x: Tensor, value: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], steps: int
) -> Tensor:
    """Newton's method for ``value(x) = z``: a fixed number of steps, as asking whether to stop would wait for a GPU.

    Where the start ``x`` is infinite so is the root.
    """
    start = x
    for _ in range(steps):
        x = x - (value(x) - z) / slope(x)
    return torch.where(start.isinf(), start, x)


def implicit_inverse(z: Tensor, solve: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]) -> Tensor:
    """``x = solve(z)`` with the derivative ``dx/dz = 1 / slope(x)``, whatever happens inside ``solve``."""
    x: Tensor = _ImplicitInverse.apply(z, solve, slope)
    return x


class _ImplicitInverse(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, solve: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]) -> Tensor:
        return solve(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.slope = inputs[2]
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return grad / ctx.slope(x), None, None
