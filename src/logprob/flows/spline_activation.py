"""A learned elementwise function, and the activations by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from logprob.flows.activations import (
    SELU,
    Identity,
    LeakyReLU,
    LearnableLeakyReLU,
    SmoothLeakyReLU,
    SmoothTanh,
    row_sum,
)
from logprob.flows.base import FlowLayer, InverseMethod
from logprob.flows.spline import rational_quadratic_spline

Activation = Literal[
    "smooth-leaky-relu", "leaky-relu", "learnable-leaky-relu", "smooth-tanh", "spline", "selu", "identity"
]


class RationalQuadraticSpline(FlowLayer):
    """A learned monotone spline for each element of the event, or one for all; the identity outside an interval.

    Args:
        shape: event shape of the inputs, for one spline each; None for one spline that all elements share.
        bins: number of bins K; a spline has ``3 K - 1`` parameters.
        bound: half the length of the interval ``[-bound, bound]``.
        std: standard deviation of the initial parameters; at zero the layer is the identity.

    Raises:
        ValueError: if ``bins`` is not in 1 ... 999 or ``bound`` not positive.

    References:
        Durkan et al., "Neural Spline Flows", NeurIPS 2019.

    Example:
        >>> import torch
        >>> z, ladj = RationalQuadraticSpline((3, 8, 8))(torch.randn(4, 3, 8, 8))
        >>> z.shape, ladj.shape
        (torch.Size([4, 3, 8, 8]), torch.Size([4]))
    """

    def __init__(
        self, shape: int | Sequence[int] | None = None, bins: int = 5, bound: float = 10.0, std: float = 0.01
    ) -> None:
        super().__init__()
        if not 1 <= bins < 1000 or not bound > 0:
            raise ValueError(f"expected 1 <= bins < 1000 and bound > 0, got {bins} and {bound}")
        self.bins, self.bound = bins, bound
        self.shape = (shape,) if isinstance(shape, int) else None if shape is None else tuple(shape)
        own = self.shape or ()
        self.widths = nn.Parameter(std * torch.randn(*own, bins))
        self.heights = nn.Parameter(std * torch.randn(*own, bins))
        self.derivatives = nn.Parameter(std * torch.randn(*own, bins - 1))

    def extra_repr(self) -> str:
        """Shape, bins and bound."""
        return f"{self.shape}, bins={self.bins}, bound={self.bound}"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        z, ladj = self._apply_spline(x, inverse=False)
        return z, row_sum(ladj)

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Exact inverse."""
        return self._apply_spline(z, inverse=True)[0]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape."""
        if self.shape is not None and tuple(shape) != self.shape:
            raise ValueError(f"expected the event shape {self.shape}, got {tuple(shape)}")
        return shape

    input_shape = output_shape

    def _apply_spline(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        self.output_shape(tuple(x.shape[1:]))
        return rational_quadratic_spline(x, self.widths, self.heights, self.derivatives, self.bound, inverse)


_BY_NAME: dict[str, Callable[[Sequence[int]], FlowLayer]] = {
    "smooth-leaky-relu": lambda shape: SmoothLeakyReLU(),
    "leaky-relu": lambda shape: LeakyReLU(),
    "learnable-leaky-relu": lambda shape: LearnableLeakyReLU(),
    "smooth-tanh": lambda shape: SmoothTanh(),
    "spline": RationalQuadraticSpline,
    "selu": lambda shape: SELU(),
    "identity": lambda shape: Identity(),
}


def activation(name: Activation, shape: Sequence[int]) -> FlowLayer:
    """The activation of a name with its default settings; ``"spline"`` has one function for each element.

    Args:
        name: of the activation.
        shape: event shape of its inputs.

    Raises:
        ValueError: listing the names, if it is not one of them.
    """
    if name not in _BY_NAME:
        raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}, got {name!r}")
    return _BY_NAME[name](shape)
