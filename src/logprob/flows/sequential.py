"""Layers one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from logprob.flows.base import DEFAULT_OPTIONS, Energy, FlowLayer, InverseMethod, Surrogate, SurrogateOptions


class Sequential(FlowLayer):
    """The composition ``f_n(... f_1(x))``, itself a layer; log-determinants add up.

    Args:
        layers: in the order in which data pass them.

    Example:
        >>> import torch
        >>> from logprob.flows import SelfNormalizingLinear, SmoothLeakyReLU
        >>> layer = Sequential([SelfNormalizingLinear(4), SmoothLeakyReLU(0.3), SelfNormalizingLinear(4)])
        >>> z, ladj = layer(torch.randn(8, 4))
        >>> z.shape, ladj.shape
        (torch.Size([8, 4]), torch.Size([8]))
    """

    layers: nn.ModuleList

    def __init__(self, layers: Sequence[FlowLayer]) -> None:
        super().__init__()
        for layer in layers:
            if not isinstance(layer, FlowLayer):
                raise TypeError(f"layers must be flow layers, got {type(layer).__name__}")
        self.layers = nn.ModuleList(layers)
        if layers:
            self.event_dim = layers[0].event_dim
        for layer in layers:
            self.output_dim = self.output_dim if layer.output_dim is None else layer.output_dim

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[FlowLayer]:
        return iter(self.layers)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> FlowLayer:
        return self.layers[index]  # type: ignore[return-value]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        total = x.new_zeros(len(x))
        for layer in self:
            x, ladj = layer(x, context)
            total = total + ladj
        return x, total

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Invert the layers from the last to the first."""
        for layer in reversed(list(self)):
            z = layer.inverse(z, context, method)
        return z

    def surrogate(
        self, x: Tensor, context: Tensor | None = None, options: SurrogateOptions = DEFAULT_OPTIONS
    ) -> Surrogate:
        """Chain the surrogates; energies in the order of the layers."""
        total = x.new_zeros(len(x))
        energies: list[Energy] = []
        for layer in self:
            x, ladj, inner = layer.surrogate(x, context, options)
            total = total + ladj
            energies += inner
        return Surrogate(x, total, tuple(energies))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Initialize each layer by the outputs of the one before."""
        with torch.no_grad():
            for layer in self:
                x = layer.initialize(x, context)
        return x

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape behind the last layer."""
        for layer in self:
            shape = layer.output_shape(shape)
        return shape

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape before the first layer."""
        for layer in reversed(list(self)):
            shape = layer.input_shape(shape)
        return shape
