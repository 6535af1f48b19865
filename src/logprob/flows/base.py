"""The contract of a flow layer: an invertible map with parameters, its exact log-determinant, and its surrogate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from logprob.transforms import Transform

Penalty = Literal["inverse", "both", "symmetric", "symmetric-inverse"]
InverseMethod = Literal["exact", "approximate", "refine"]
LogDetScale = Literal["full", "paper"]
LogDetValue = Literal["zero", "cached", "exact"]


@dataclass(frozen=True)
class SurrogateOptions:
    """How self-normalizing layers form the surrogate of a training step; other layers have no use for it.

    Args:
        penalty: the reconstruction energy ``E`` that is returned, ``None`` for none (two products fewer).
            ``"inverse"``: ``mean_b ||x - R W x||^2`` with the gradient to ``R`` only; ``"both"``: to ``W`` too,
            as published; ``"symmetric"``: half of that plus half of ``mean_b ||z - W R z||^2``;
            ``"symmetric-inverse"``: the symmetric energy, its inputs detached as published for updates of R.
        scale: ``"full"``: at ``R = W^-1`` the gradient is that of ``-log p``. ``"paper"``: half of it for the
            weights of these layers (but not for what lies below them), as published.
        value: what the log-determinant returns as its value; its gradient is the same for all three.
            ``"zero"``; ``"cached"``: the exact one of the last ``synchronize()``; ``"exact"``: O(D^3) a step.
            Zero is right for losses that are linear in ``log p`` or do not change when a constant is added.
    """

    penalty: Penalty | None = "inverse"
    scale: LogDetScale = "full"
    value: LogDetValue = "zero"

    def __post_init__(self) -> None:
        for name in ("penalty", "scale", "value"):
            if getattr(self, name) not in _ACCEPTED[name]:
                accepted = ", ".join(map(str, _ACCEPTED[name]))
                raise ValueError(f"{name} must be one of {accepted}, got {getattr(self, name)!r}")


_ACCEPTED = {"penalty": (None, *get_args(Penalty)), "scale": get_args(LogDetScale), "value": get_args(LogDetValue)}
DEFAULT_OPTIONS = SurrogateOptions()


class Energy(NamedTuple):
    """Reconstruction energy of one layer.

    Args:
        value: scalar, mean over the batch of the squared error summed over the event.
        dimensions: number of dimensions D of the event, so that ``value / dimensions`` compares across layers.
    """

    value: Tensor
    dimensions: int


class Surrogate(NamedTuple):
    """Output of a layer for training: only the *gradient* of ``ladj`` means anything.

    Args:
        z: the layer's exact output.
        ladj: shape ``(B,)``; its gradient is that of ``log|det dz/dx|``, exact or estimated; its value is not.
        energies: reconstruction energies, one for each self-normalizing layer inside.
    """

    z: Tensor
    ladj: Tensor
    energies: tuple[Energy, ...] = ()


class FlowLayer(nn.Module):
    """An invertible map ``z = f(x; context)`` of batches ``(B, *event)``, usable alone in any model.

    A subclass implements :meth:`forward` and :meth:`inverse`, both exact, and sets ``event_dim`` (1 for vectors,
    3 for images; elementwise maps take any event and leave 1), and ``output_dim`` where the output has another
    rank. Where the exact log-determinant is costly it also has a :meth:`surrogate`; everywhere else the surrogate
    *is* the exact pair.
    """

    event_dim: int = 1
    output_dim: int | None = None

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact ``(z, log|det dz/dx|)`` of shapes ``(B, *event)`` and ``(B,)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward(x, context) -> (z, ladj)")

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The ``x`` with ``f(x) = z``; layers that keep an approximate inverse use it where ``method`` says so."""
        raise NotImplementedError(f"{type(self).__name__} must implement inverse(z, context, method) -> x")

    def surrogate(
        self, x: Tensor, context: Tensor | None = None, options: SurrogateOptions = DEFAULT_OPTIONS
    ) -> Surrogate:
        """What training uses: exact output, and a log-determinant of which only the gradient means anything."""
        return Surrogate(*self(x, context))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set what depends on data from a batch of inputs, and return the layer's output for it."""
        with torch.no_grad():
            z: Tensor = self(x, context)[0]
        return z

    def synchronize(self) -> None:
        """Make every inverse weight inside the exact (for k x k convolutions: the best) inverse of its weight."""
        for child in self.children():
            synchronize(child)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Event shape of the output for an event shape of the input.

        Raises:
            ValueError: if the layer does not take that shape.
        """
        return shape

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Event shape of the input for an event shape of the output."""
        return shape

    def transform(self, context: Tensor | None = None, event_dim: int | None = None) -> FlowTransform:
        """The layer as a :mod:`torch.distributions` transform: exact value, inverse and ``log_abs_det_jacobian``.

        Args:
            context: given to every call; one row for all points, or a row each.
            event_dim: number of event dimensions, by default the layer's own.
        """
        return FlowTransform(self, context, event_dim)


def check_method(method: str) -> None:
    """Raise if ``method`` names no inverse.

    Raises:
        ValueError: naming those that there are.
    """
    if method not in get_args(InverseMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(InverseMethod))}, got {method!r}")


def synchronize(module: nn.Module) -> None:
    """Synchronize every flow layer inside ``module``, whatever the module is."""
    if isinstance(module, FlowLayer):
        module.synchronize()
    else:
        for child in module.children():
            synchronize(child)


class FlowTransform(Transform):
    """A flow layer with its context, as a transform of :mod:`torch.distributions`.

    Args:
        layer: the layer, read at every call.
        context: shape ``(*batch, C)`` or ``(C,)``, or None.
        event_dim: number of event dimensions of the input, by default ``layer.event_dim``.
    """

    def __init__(self, layer: FlowLayer, context: Tensor | None = None, event_dim: int | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.context = context
        self._event_dim = layer.event_dim if event_dim is None else event_dim
        if self._event_dim < 1:
            raise ValueError(f"event_dim must be at least 1, got {self._event_dim}")

    @property
    def domain(self) -> Any:  # type: ignore[override]
        """Real arrays of ``event_dim`` dimensions."""
        return constraints.independent(constraints.real, self._event_dim)

    @property
    def codomain(self) -> Any:  # type: ignore[override]
        """Real arrays; as many dimensions as the layer's output has."""
        rank = self._event_dim if self.layer.output_dim is None else self.layer.output_dim
        return constraints.independent(constraints.real, rank)

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output, batch dimensions included."""
        batch = len(shape) - self._event_dim
        return (*shape[:batch], *self.layer.output_shape(tuple(shape[batch:])))

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the input, batch dimensions included."""
        batch = len(shape) - self.codomain.event_dim
        return (*shape[:batch], *self.layer.input_shape(tuple(shape[batch:])))

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Exact ``(z, log|det dz/dx|)`` at any number of batch dimensions."""
        rows, batch = self._rows(x, self._event_dim)
        z, ladj = self.layer(rows, self._contexts(batch))
        return z.reshape(*batch, *z.shape[1:]), ladj.reshape(batch)

    def _inverse(self, y: Tensor) -> Tensor:
        rows, batch = self._rows(y, self.codomain.event_dim)
        x = self.layer.inverse(rows, self._contexts(batch))
        return x.reshape(*batch, *x.shape[1:])

    def _rows(self, x: Tensor, event_dim: int) -> tuple[Tensor, torch.Size]:
        batch = x.shape[: x.dim() - event_dim]
        return x.reshape(math.prod(batch), *x.shape[len(batch) :]), batch

    def _contexts(self, batch: torch.Size) -> Tensor | None:
        if self.context is None:
            return None
        wide = self.context.expand(*batch, self.context.shape[-1])
        return wide.reshape(math.prod(batch), wide.shape[-1])

    def parameters(self) -> tuple[Any, ...]:
        """The layer's kind, its state and the context."""
        return (repr(self.layer), *self.layer.state_dict().values(), self._event_dim, self.context)
