"""Elementwise maps in front of a flow: from pixels to real numbers, every term counted in the density."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from logprob.flows.base import FlowLayer, InverseMethod


class Scale(FlowLayer):
    """``z = x / divisor``, ``ladj = -D log divisor``.

    Args:
        divisor: a positive number, such as 256 for pixels.

    Raises:
        ValueError: if ``divisor`` is not positive.

    Example:
        >>> import torch
        >>> Scale(256)(torch.full((1, 2), 64.0))
        (tensor([[0.2500, 0.2500]]), tensor([-11.0904]))
    """

    def __init__(self, divisor: float) -> None:
        super().__init__()
        if not 0 < divisor < math.inf:
            raise ValueError(f"divisor must be positive, got {divisor}")
        self.divisor = divisor

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``x / divisor``."""
        _check_floating(x)
        return x / self.divisor, _constant(x, -math.log(self.divisor))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """``z * divisor``."""
        return z * self.divisor

    def extra_repr(self) -> str:
        """The divisor."""
        return f"{self.divisor:g}"


class Squash(FlowLayer):
    """``z = (x + alpha) (1 - 2 alpha)``: [0, 1] into its own inside, so that a logit is finite everywhere.

    Args:
        alpha: distance that 0 is moved by, ``0 <= alpha < 1/2``; 1 is moved by ``alpha + 2 alpha^2``.

    Raises:
        ValueError: if ``alpha`` is out of its range.

    Example:
        >>> import torch
        >>> Squash(0.05)(torch.tensor([[0.0, 1.0]]))
        (tensor([[0.0450, 0.9450]]), tensor([-0.2107]))
    """

    def __init__(self, alpha: float = 1e-6) -> None:
        super().__init__()
        if not 0 <= alpha < 0.5:
            raise ValueError(f"alpha must be in [0, 0.5), got {alpha}")
        self.alpha = alpha

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``(x + alpha) (1 - 2 alpha)``."""
        _check_floating(x)
        return (x + self.alpha) * (1 - 2 * self.alpha), _constant(x, math.log1p(-2 * self.alpha))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """``z / (1 - 2 alpha) - alpha``."""
        return z / (1 - 2 * self.alpha) - self.alpha

    def extra_repr(self) -> str:
        """The distance."""
        return f"{self.alpha:g}"


class Logit(FlowLayer):
    """``z = log x - log(1 - x)`` for ``x`` in (0, 1), ``ladj = -sum(log x + log(1 - x))``; NaN outside.

    In float32 it loses digits near 1, where ``x`` itself has none left: see :class:`PixelLogits`.

    Example:
        >>> import torch
        >>> Logit()(torch.tensor([[0.5]]))
        (tensor([[0.]]), tensor([1.3863]))
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The logits."""
        _check_floating(x)
        left, right = x.log(), (-x).log1p()
        return left - right, -_sum(left + right)

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """``1 / (1 + exp(-z))``."""
        return z.sigmoid()


class Sigmoid(FlowLayer):
    """``z = 1 / (1 + exp(-x))``, onto (0, 1); ``ladj = sum(log z + log(1 - z))``.

    Example:
        >>> import torch
        >>> Sigmoid()(torch.tensor([[0.0]]))
        (tensor([[0.5000]]), tensor([-1.3863]))
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The values in (0, 1)."""
        return x.sigmoid(), _sum(F.logsigmoid(x) + F.logsigmoid(-x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The logits."""
        return z.log() - (-z).log1p()


class Normalize(FlowLayer):
    """``z = (x - loc) / scale``, ``ladj = -sum log scale``.

    Args:
        loc: of a shape that broadcasts to the event, e.g. ``(C, 1, 1)`` for one number a channel.
        scale: positive, of such a shape.
        learnable: whether ``loc`` and ``log scale`` are parameters, or fixed buffers.

    Raises:
        ValueError: if an entry of ``scale`` is not positive.

    Example:
        >>> import torch
        >>> Normalize(1.0, 2.0)(torch.tensor([[1.0, 5.0]]))
        (tensor([[0., 2.]]), tensor([-1.3863]))
    """

    def __init__(
        self, loc: float | Sequence[float] | Tensor, scale: float | Sequence[float] | Tensor, learnable: bool = False
    ) -> None:
        super().__init__()
        dtype = torch.get_default_dtype()
        loc, scale = (torch.as_tensor(value, dtype=dtype).clone() for value in (loc, scale))
        if not bool(((scale > 0) & scale.isfinite()).all()):
            raise ValueError(f"every entry of scale must be positive, got a minimum of {scale.min().item():g}")
        for name, value in (("loc", loc), ("log_scale", scale.log())):
            if learnable:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.loc: Tensor
        self.log_scale: Tensor

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``(x - loc) / scale``."""
        z = (x - self.loc) * (-self.log_scale).exp()
        return z, -_sum(self.log_scale.expand_as(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """``z * scale + loc``."""
        return z * self.log_scale.exp() + self.loc


class PixelLogits(FlowLayer):
    """Dequantised pixels in [0, K] to real numbers: :class:`Scale`, :class:`Squash` and :class:`Logit` in one.

    ``y = (x / K + alpha) (1 - 2 alpha)``, ``z = log y - log(1 - y)``,
    ``ladj = sum(log(1 - 2 alpha) - log K - log y - log(1 - y))``. ``1 - y`` is formed from ``K - x``, which is exact
    near K, so that float32 keeps its digits at both ends. Outside of [0, K] the result is NaN as soon as ``y`` is
    not in (0, 1).

    Args:
        categories: number K of pixel values, 256 for bytes.
        alpha: see :class:`Squash`; positive.

    Raises:
        ValueError: if ``categories`` or ``alpha`` is out of its range.

    Note:
        The inverse is onto the interval that is ``K alpha`` wider than [0, K] at both ends, about.

    Example:
        >>> import torch
        >>> layer = PixelLogits(256)
        >>> z, ladj = layer(torch.tensor([[0.5, 128.0, 255.5]]))
        >>> z.round(decimals=2), layer.inverse(z)
        (tensor([[-6.2400,  0.0000,  6.2400]]), tensor([[  0.5000, 128.0000, 255.5000]]))
    """

    def __init__(self, categories: int, alpha: float = 1e-6) -> None:
        super().__init__()
        if categories < 2:
            raise ValueError(f"categories must be at least 2, got {categories}")
        if not 0 < alpha < 0.5:
            raise ValueError(f"alpha must be in (0, 0.5), got {alpha}")
        self.categories, self.alpha = categories, alpha

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The logits."""
        _check_floating(x)
        slope, floor = (1 - 2 * self.alpha) / self.categories, self.alpha * (1 - 2 * self.alpha)
        # 1 - y at x = K is alpha + 2 alpha^2
        left = (x * slope + floor).log()
        right = ((self.categories - x) * slope + self.alpha * (1 + 2 * self.alpha)).log()
        return left - right, _constant(x, math.log(slope)) - _sum(left + right)

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The pixels, not rounded."""
        return self.categories * (z.sigmoid() / (1 - 2 * self.alpha) - self.alpha)

    def extra_repr(self) -> str:
        """The number of pixel values."""
        return f"categories={self.categories}, alpha={self.alpha:g}"


def _sum(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)


def _check_floating(x: Tensor) -> None:
    if not x.is_floating_point():
        raise ValueError(f"expected real numbers, got {x.dtype}: a density of integers takes Dequantized(flow, ...)")


def _constant(x: Tensor, ladj: float) -> Tensor:
    """The log-determinants of rows ``x`` when every dimension adds ``ladj``."""
    return x.new_full((len(x),), ladj * math.prod(x.shape[1:]))
