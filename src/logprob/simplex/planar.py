"""Planar layers: an invertible map of real vectors that bends along one direction a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from logprob.transforms import Transform

_NEWTON_STEPS = 24  # 20 reach rounding for w.u~ from -1 + 1e-30 to 1e8


class Planar(Transform):
    """One or several planar layers, each ``y + u~ tanh(w.y + b)``.

    A layer is invertible where ``w.u~ > -1``, which ``u~ = u + (softplus(w.u) - 1 - w.u) w / |w|^2`` grants for any
    ``u``: ``w.u~ = softplus(w.u) - 1``. Its log-determinant is ``log(t^2 + (1 - t^2) softplus(w.u))`` with ``t =
    tanh(w.y + b)``, in which nothing cancels. A layer with ``w = 0`` is the shift ``y + u tanh(b)``. The inverse is
    found by Newton's method in one number a layer, from a start on the side from which it cannot overshoot; its
    gradients are those of the implicit function.

    Args:
        w: directions, shape ``(L, ..., D)`` for L layers, the first to be applied first.
        u: shifts before the constraint, same shape.
        b: offsets, shape ``(L, ...)``.

    Raises:
        ValueError: if the shapes do not agree.

    References:
        Rezende and Mohamed, "Variational Inference with Normalizing Flows", ICML 2015, Appendix A.1; the power 2 of
        the norm is needed.

    Example:
        >>> import torch
        >>> f = Planar(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 1.0]]), torch.zeros(1))
        >>> y, ladj = f.call_and_ladj(torch.tensor([0.5, 0.5]))
        >>> f.inv(y)
        tensor([0.5000, 0.5000])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector

    def __init__(self, w: Tensor, u: Tensor, b: Tensor, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        if w.dim() < 2 or w.shape != u.shape or w.shape[:-1] != b.shape:
            raise ValueError(
                f"expected w and u of shape (L, ..., D) and b of shape (L, ...), got {tuple(w.shape)}, "
                f"{tuple(u.shape)} and {tuple(b.shape)}"
            )
        self.w, self.u, self.b = w, u, b

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output and the sum of the layers' log-determinants."""
        ladj = torch.zeros_like(x[..., 0])
        for layer in self._layers():
            x, t = _bend(x, layer)
            ladj = ladj + _slope(t, layer.slope).log()
        return x, ladj

    def _call(self, x: Tensor) -> Tensor:
        for layer in self._layers():
            x, _ = _bend(x, layer)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for layer in reversed(self._layers()):
            angle = (layer.w * y).sum(-1) + layer.b
            root: Tensor = _Root.apply(*torch.broadcast_tensors(angle, layer.slope))
            y = y - layer.shift * root.tanh().unsqueeze(-1)
        return y

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        """Shape of the output for an input of some shape: there may be more maps than inputs."""
        return torch.broadcast_shapes(tuple(shape), self.w.shape[1:])

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        """As :meth:`forward_shape`."""
        return self.forward_shape(shape)

    def _layers(self) -> list[_Layer]:
        return [_layer(*numbers) for numbers in zip(self.w, self.u, self.b, strict=True)]

    def parameters(self) -> tuple[Any, ...]:
        """``(w, u, b)``."""
        return (self.w, self.u, self.b)

    def with_cache(self, cache_size: int = 1) -> Planar:
        """The same map with torch's one-entry cache switched on or off."""
        return self if cache_size == self._cache_size else Planar(self.w, self.u, self.b, cache_size)


class PlanarLayers(nn.Module):
    """Owns the parameters of :class:`Planar`; ``forward`` gives the map of the present ones.

    ``w`` and ``u`` start from N(0, 0.05^2), ``b`` from 0, as published. That is not the identity: as ``w.u~ =
    softplus(0) - 1``, each layer shrinks what lies along its ``w`` by a factor of about 0.69.

    Args:
        layers: number of layers, at least 1.
        shape: shape of the vectors ``(..., D)``: a map of its own for each of the leading dimensions. A number is D.

    Raises:
        ValueError: if a number is below 1.

    Example:
        >>> PlanarLayers(2, (20, 9))()(torch.zeros(64, 20, 9)).shape
        torch.Size([64, 20, 9])
    """

    def __init__(self, layers: int, shape: int | Sequence[int]) -> None:
        super().__init__()
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        if not sizes or min(layers, *sizes) < 1:
            raise ValueError(f"layers and every size must be at least 1, got {layers} and {sizes}")
        self.w = nn.Parameter(0.05 * torch.randn(layers, *sizes))
        self.u = nn.Parameter(0.05 * torch.randn(layers, *sizes))
        self.b = nn.Parameter(torch.zeros(layers, *sizes[:-1]))

    def forward(self) -> Planar:
        """The map; the next step of an optimiser does not change it."""
        return Planar(self.w.clone(), self.u.clone(), self.b.clone())


class _Layer(NamedTuple):
    w: Tensor
    shift: Tensor  # u~
    b: Tensor
    slope: Tensor  # 1 + w.u~, positive: of the layer along w, where tanh is steepest


def _layer(w: Tensor, u: Tensor, b: Tensor) -> _Layer:
    product, norm = (w * u).sum(-1), w.square().sum(-1)
    straight = norm == 0  # nothing to invert, and no direction to correct u along
    slope = F.softplus(product, threshold=40)  # torch's own threshold of 20 is 2e-9 off
    correction = torch.where(straight, 0.0, (slope - 1 - product) / torch.where(straight, 1.0, norm))
    return _Layer(w, u + correction.unsqueeze(-1) * w, b, torch.where(straight, 1.0, slope))


def _bend(y: Tensor, layer: _Layer) -> tuple[Tensor, Tensor]:
    """Output of a layer, and ``tanh(w.y + b)``."""
    t = torch.tanh((layer.w * y).sum(-1) + layer.b)
    return y + layer.shift * t.unsqueeze(-1), t


def _slope(t: Tensor, slope: Tensor) -> Tensor:
    """``1 + (1 - t^2) w.u~``, the determinant of a layer."""
    square = t.square()
    return square + (1 - square) * slope


class _Root(torch.autograd.Function):
    """The root z of ``z + (slope - 1) tanh(z) = angle``; ``dz/dangle = 1 / (1 + (slope - 1)(1 - tanh(z)^2))``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(angle: Tensor, slope: Tensor) -> Tensor:
        # The function is odd. In single precision a nearly flat one would be lost in the rounding of z - tanh z.
        size, steep = angle.abs().double(), slope.double()
        z = _start(size, steep)
        for _ in range(_NEWTON_STEPS):
            t = z.tanh()
            z = z - (z + (steep - 1) * t - size) / _slope(t, steep)
        return torch.where(angle.isinf(), angle, z.to(angle.dtype) * angle.sign())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[1], output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        slope, z = ctx.saved_tensors
        t = z.tanh()
        scaled = grad / _slope(t, slope)
        return scaled, -scaled * t


def _start(size: Tensor, slope: Tensor) -> Tensor:
    """A bound of the root: from below where the function is concave, from above where it is convex.

    On the positive side the function ``z + c tanh z`` lies below both ``(1 + c) z`` and ``z + c`` if ``c >= 0``, above
    both if ``c < 0``. There ``-c (z - tanh z)``, at least ``-0.238 c z^3`` up to ``z = 1``, bounds it as well, without
    which a nearly flat function would take many steps.
    """
    left, right = size / slope, size - (slope - 1)
    cubic = (size / (0.238 * (1 - slope))).pow(1 / 3)
    above = torch.minimum(torch.minimum(left, right), torch.where(cubic < 1, cubic, right))
    return torch.where(slope >= 1, torch.maximum(left, right), above)
