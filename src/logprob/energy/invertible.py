"""An invertible network of square layers and leaky kinks: every linear mixture of kinks can be undone exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from logprob.nn.stacked import copies_shape


@dataclass(frozen=True)
class PiecewiseLinear:
    """The map of one state of the parameters: ``z <- leaky(z W_l + b_l)`` for l = 1..L.

    Args:
        weight: matrices W, ``(*copies, L, D, D)``.
        bias: b, ``(*copies, L, D)``.
        log_slope: a, logs of the slopes below zero, ``(*copies, L, D)``.
    """

    weight: Tensor
    bias: Tensor
    log_slope: Tensor

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents of rows, and ``log |det dz/dx|`` in nats."""
        ladj = self._per_copy(torch.linalg.slogdet(self.weight).logabsdet.sum(-1))
        z = x
        for weight, bias, log_slope in self._layers():
            z = _affine(z, weight, bias)
            below = (z.detach() < 0).to(z.dtype)
            ladj = ladj + (below @ log_slope.mT).squeeze(-1) if bias.dim() > 1 else ladj + below @ log_slope
            z = torch.addcmul(z, z * below, log_slope.expm1())
        return z, ladj

    def inverse(self, z: Tensor) -> Tensor:
        """Rows of latents."""
        for weight, bias, log_slope in reversed(self._layers()):
            z = torch.where(z < 0, z * (-log_slope).exp(), z)
            z = _right_solve(z - bias, weight)
        return z

    def _layers(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """W ``(*copies, D, D)``, and b and a ``(D,)`` or ``(C, 1, D)``, of each layer."""
        layer = self.weight.dim() - 3
        parts = (self.weight.unbind(layer), self.bias.unbind(layer), self.log_slope.unbind(layer))
        return [(w, self._per_copy(b), self._per_copy(a)) for w, b, a in zip(*parts, strict=True)]

    def _per_copy(self, value: Tensor) -> Tensor:
        """With copies, an axis for their rows."""
        return value.unsqueeze(1) if self.weight.dim() == 4 else value


def _affine(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if weight.dim() == 3 and z.dim() <= 3:  # one kernel instead of two
        return torch.baddbmm(bias, z.expand(len(weight), *z.shape[-2:]), weight)
    return z @ weight + bias


def _right_solve(y: Tensor, weight: Tensor) -> Tensor:
    """``y W^-1``, by one factorisation of W for all rows."""
    if y.dim() == 1:
        return _right_solve(y.unsqueeze(0), weight).squeeze(0)
    factors, pivots = torch.linalg.lu_factor(weight)
    lead = torch.broadcast_shapes(y.shape[:-2], weight.shape[:-2])
    solved: Tensor = torch.linalg.lu_solve(
        factors.expand(*lead, *weight.shape[-2:]), pivots.expand(*lead, weight.shape[-1]), y, left=False
    )
    return solved


class InvertibleMLP(nn.Module):
    """A multilayer perceptron of constant width with an exact inverse and log-determinant.

    ``z = x; for l in 1..L: z <- act(z W_l + b_l)``, where ``act`` has slope 1 above zero and a learned slope
    ``e^a > 0``, one for each dimension, below. ``log |det dz/dx| = sum_l log |det W_l| + sum_{z < 0} a``.

    It contains the inverse of every mixing of L - 1 invertible linear maps with leaky rectifiers between them.

    Args:
        features: number D of dimensions.
        layers: number L.
        copies: number C of networks side by side, or None for one without a leading axis.
        bias: whether there are b. Without, the map is homogeneous: ``f(c x) = c f(x)`` for c > 0.

    Shapes: rows ``(N, D)``, the same for all copies, or ``(C, N, D)``, to latents ``(C, N, D)`` and
    log-determinants ``(C, N)``; without copies ``(..., D)`` to ``(..., D)`` and ``(...)``.
    Weights start as random orthogonal matrices, b and a at zero: the network starts as a rotation.

    Raises:
        ValueError: for less than one dimension, layer or copy.

    Example:
        >>> f, x = InvertibleMLP(3, layers=2, copies=4), torch.randn(5, 3)
        >>> z, ladj = f(x)
        >>> z.shape, ladj.shape
        (torch.Size([4, 5, 3]), torch.Size([4, 5]))
        >>> torch.allclose(f.inverse(z), x.expand(4, 5, 3), atol=1e-5)
        True
    """

    def __init__(self, features: int, layers: int, copies: int | None = None, bias: bool = True) -> None:
        super().__init__()
        if features < 1 or layers < 1:
            raise ValueError(f"expected at least 1 dimension and 1 layer, got {features} and {layers}")
        lead = copies_shape(copies)
        self.features, self.layers, self.copies = features, layers, copies
        self.weight = nn.Parameter(random_orthogonal(*lead, layers, features))
        self.bias = nn.Parameter(torch.zeros(*lead, layers, features), requires_grad=bias)
        self.log_slope = nn.Parameter(torch.zeros(*lead, layers, features))

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.features}, layers={self.layers}, copies={self.copies}"

    def map(self) -> PiecewiseLinear:
        """The map of the present parameters; later steps do not change it."""
        return PiecewiseLinear(self.weight.clone(), self.bias.clone(), self.log_slope.clone())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents, and log-determinants in nats."""
        return PiecewiseLinear(self.weight, self.bias, self.log_slope).forward(x)

    def inverse(self, z: Tensor) -> Tensor:
        """The rows with these latents, exact but for rounding."""
        return PiecewiseLinear(self.weight, self.bias, self.log_slope).inverse(z)


def random_orthogonal(*shape: int) -> Tensor:
    """Orthogonal matrices, uniformly distributed; the last number is their size.

    Example:
        >>> q = random_orthogonal(7, 3)
        >>> q.shape, torch.allclose(q @ q.mT, torch.eye(3).expand(7, 3, 3), atol=1e-5)
        (torch.Size([7, 3, 3]), True)
    """
    *lead, size = shape
    q, r = torch.linalg.qr(torch.randn(*lead, size, size))
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
