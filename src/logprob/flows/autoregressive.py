"""Autoregressive layers: every feature is changed by a function that the features before it choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from logprob.flows.base import FlowLayer, InverseMethod
from logprob.flows.element_maps import AffineMap, ElementMap
from logprob.flows.vector_coupling import START, check_vector
from logprob.nn import MaskedMLP, Nonlinearity


class Autoregressive(FlowLayer):
    """``v_i = f(u_i; g_i(u_1 ... u_{i-1}, context))``, one way in one pass, the other way feature by feature.

    Args:
        features: number of features D.
        element: the increasing function f, :class:`AffineMap` or :class:`SplineMap`.
        direction: which way takes one pass through the network g; the other one takes D. ``"density"``: u is the
            data, so training and densities are fast. ``"sampling"``: u is the latent, so samples are fast.
        hidden: widths of the hidden layers of g.
        context: width of the context, 0 for none.
        reverse: count the features from the last; alternate it.
        activation: nonlinearity of g.
        network: a network to use as g, such as :class:`~logprob.nn.SeparateMLPs`, instead of the masked perceptron
            that the other arguments describe.

    Raises:
        ValueError: for a direction of another name, or a network that goes with nothing else.

    References:
        Papamakarios, Pavlakou and Murray, "Masked Autoregressive Flow", NeurIPS 2017 ("density"); Kingma et al.,
        "Improved Variational Inference with Inverse Autoregressive Flow", NeurIPS 2016 ("sampling").

    Example:
        >>> import torch
        >>> from logprob.flows import Autoregressive, SplineMap
        >>> z, ladj = Autoregressive(6, SplineMap(bins=8), direction="sampling")(torch.randn(4, 6))
        >>> z.shape, ladj.shape
        (torch.Size([4, 6]), torch.Size([4]))
    """

    def __init__(
        self,
        features: int,
        element: ElementMap | None = None,
        direction: Literal["density", "sampling"] = "density",
        hidden: Sequence[int] = (128, 128),
        context: int = 0,
        reverse: bool = False,
        activation: Nonlinearity = "relu",
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if direction not in ("density", "sampling"):
            raise ValueError(f"direction must be 'density' or 'sampling', got {direction!r}")
        self.features, self.context, self.direction, self.reverse = features, context, direction, reverse
        self.element = AffineMap() if element is None else element
        if network is None:
            network = MaskedMLP(features, self.element.outputs, hidden, context, activation, reverse, START)
        else:
            self._check_network(network)
        self.network: Any = network

    def extra_repr(self) -> str:
        """Features, element map and directions."""
        return f"{self.features}, {self.element}, direction={self.direction!r}, reverse={self.reverse}"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        check_vector(tuple(x.shape[1:]), self.features)
        if self.direction == "density":
            return self._parallel(x, context)
        z, ladj = self._sequential(x, context)
        return z, -ladj

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Exact inverse."""
        check_vector(tuple(z.shape[1:]), self.features)
        return (self._sequential if self.direction == "density" else self._parallel)(z, context)[0]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same vector shape."""
        return check_vector(shape, self.features)

    input_shape = output_shape

    def _check_network(self, network: nn.Module) -> None:
        """A network that was given counts features from the first and says how many outputs it has."""
        got = (getattr(network, "inputs", None), getattr(network, "outputs", None), self.context, self.reverse)
        if got != (self.features, self.element.outputs, 0, False):
            raise ValueError(
                f"expected a network of {self.features} inputs and {self.element.outputs} outputs for each, with "
                f"neither context nor reverse, got (inputs, outputs, context, reverse) = {got}"
            )

    def _parallel(self, u: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        v, ladj = self.element(u, self.network(u, context))
        return v, ladj.sum(1)

    def _sequential(self, v: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Undo :meth:`_parallel`; the log-determinant is that of :meth:`_parallel`."""
        order = range(self.features)
        u, total = torch.zeros_like(v), v.new_zeros(len(v))
        unit = torch.eye(self.features, dtype=v.dtype, device=v.device)
        for index in reversed(order) if self.reverse else order:
            parameters = self.network.column(index, u, context).unsqueeze(-1)  # (B, Q, 1)
            value, ladj = self.element(v[:, index, None], parameters, inverse=True)
            u = torch.addcmul(u, value, unit[index])
            total = total - ladj.squeeze(-1)
        return u, total
