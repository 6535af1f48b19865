"""Coupling layers of vectors: one part is changed by functions that the other part chooses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from logprob.flows.base import FlowLayer, InverseMethod
from logprob.flows.element_maps import AffineMap, ElementMap
from logprob.nn import MLP, Nonlinearity
from logprob.nn.context import with_context

START = 0.01
"""Initial scale of what a network says: every flow starts close to the identity, yet no gradient is zero."""


class Coupling(FlowLayer):
    """``z = (x_1, f(x_2; g(x_1, context)))``: one half goes through, the other through increasing functions.

    Both directions take one pass through the network g.

    Args:
        features: number of features D, at least 2.
        element: the increasing function, :class:`AffineMap` or :class:`SplineMap`.
        hidden: widths of the hidden layers of g.
        context: width of the context, 0 for none.
        flip: change the first ``D - D // 2`` features instead of the last ``D // 2``; alternate it.
        activation: nonlinearity of g.

    Raises:
        ValueError: if there are fewer than 2 features.

    References:
        Dinh, Sohl-Dickstein and Bengio, ICLR 2017; Durkan et al., "Neural Spline Flows", NeurIPS 2019.

    Example:
        >>> import torch
        >>> from logprob.flows import Coupling, SplineMap
        >>> z, ladj = Coupling(6, SplineMap(bins=8))(torch.randn(4, 6))
        >>> z.shape, ladj.shape
        (torch.Size([4, 6]), torch.Size([4]))
    """

    def __init__(
        self,
        features: int,
        element: ElementMap | None = None,
        hidden: Sequence[int] = (128, 128),
        context: int = 0,
        flip: bool = False,
        activation: Nonlinearity = "relu",
    ) -> None:
        super().__init__()
        if features < 2:
            raise ValueError(f"a coupling needs at least 2 features, got {features}; Autoregressive takes one")
        self.features, self.context, self.flip = features, context, flip
        self.element = AffineMap() if element is None else element
        self.sizes = [features - features // 2, features // 2]
        kept, changed = reversed(self.sizes) if flip else self.sizes
        self.network = MLP(kept + context, self.element.outputs * changed, hidden, activation, final_scale=START)

    def extra_repr(self) -> str:
        """Features, element map and which half changes."""
        return f"{self.features}, {self.element}, flip={self.flip}"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        return self._apply_elements(x, context, inverse=False)

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Exact inverse, by one pass through the network."""
        return self._apply_elements(z, context, inverse=True)[0]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same vector shape."""
        return check_vector(shape, self.features)

    input_shape = output_shape

    def _apply_elements(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        check_vector(tuple(x.shape[1:]), self.features)
        halves = x.split(self.sizes, dim=1)
        kept, changed = reversed(halves) if self.flip else halves
        seen = with_context(kept, context, self.context)
        parameters = self.network(seen).unflatten(1, (self.element.outputs, changed.shape[1]))
        changed, ladj = self.element(changed, parameters, inverse)
        return torch.cat([changed, kept] if self.flip else [kept, changed], dim=1), ladj.sum(1)


class Permutation(FlowLayer):
    """Reorder the features: ``z_i = x_order[i]``.

    Args:
        order: a permutation of ``0 ... D - 1``, or D for a random one, which is kept in the state.

    Raises:
        ValueError: if it is no permutation.
    """

    order: Tensor

    def __init__(self, order: int | Sequence[int]) -> None:
        super().__init__()
        chosen = torch.randperm(order) if isinstance(order, int) else torch.tensor(list(order), dtype=torch.long)
        if sorted(chosen.tolist()) != list(range(len(chosen))):
            raise ValueError(f"order must be a permutation of 0 ... {len(chosen) - 1}, got {chosen.tolist()}")
        self.register_buffer("order", chosen)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The reordered rows; the log-determinant is zero."""
        check_vector(tuple(x.shape[1:]), len(self.order))
        return x.index_select(1, self.order), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Rows in their first order."""
        return z.index_select(1, self.order.argsort())

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same vector shape."""
        return check_vector(shape, len(self.order))

    input_shape = output_shape


def check_vector(shape: tuple[int, ...], features: int) -> tuple[int, ...]:
    """The event shape, or ValueError if it is not that of vectors of so many features."""
    if shape != (features,):
        raise ValueError(f"expected vectors of {features} features, got the event shape {shape}")
    return shape
