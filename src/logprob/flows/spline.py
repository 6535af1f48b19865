"""Monotone rational-quadratic splines, fused: one pass forwards and a backward pass written by hand.

Inside this module bins are the *first* dimension of a table. Then every operation runs over long contiguous rows,
and one table serves one element, or all elements that share it, by the same ``gather`` and ``scatter_add``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_FLOOR = 1e-3
"""Least width and height of a bin, as a fraction of the interval, and least slope at a knot."""
UNIT_SLOPE = math.log(math.expm1(1 - _FLOOR))
"""``floor + softplus`` of it is 1: parameters of zero make the identity."""


def rational_quadratic_spline(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float = 5.0, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Apply an increasing piecewise rational-quadratic function to each element; the identity outside an interval.

    The interval ``[-bound, bound]`` is cut into K bins by knots ``(x_k, y_k)`` of slopes ``d_k``. In bin k, with
    ``t = (x - x_k) / w_k`` and ``s = h_k / w_k``::

        y = y_k + h_k (s t^2 + d_k t (1 - t)) / (s + (d_k + d_{k+1} - 2 s) t (1 - t))

    Widths are ``2 bound (0.001 + (1 - 0.001 K) softmax(widths))``, heights alike; inner slopes are
    ``0.001 + softplus(derivatives + c)`` with c such that a zero gives slope 1; both end slopes are 1. Parameters
    of zero make the identity. Knots are computed once for each set of parameters, not for each element.

    Args:
        x: any shape.
        widths: unnormalised, ``(*batch, K)`` where ``batch`` broadcasts against the shape of ``x``.
        heights: unnormalised, ``(*batch, K)``.
        derivatives: unnormalised, ``(*batch, K - 1)``.
        bound: half the length of the interval, positive.
        inverse: apply the inverse function.

    Returns:
        The values and the logarithms of the derivatives (of the inverse function, if that is applied), elementwise.
        Gradients of the inverse follow the implicit function rule. Derivatives of higher order work too, in reverse
        mode; forward mode raises.

    Raises:
        ValueError: if the numbers of bins disagree, if there are 1000 or more, or if ``bound`` is not positive.

    References:
        Durkan et al., "Neural Spline Flows", NeurIPS 2019; Gregory and Delbourgo, IMA J. Numer. Anal. 1982.

    Example:
        >>> import torch
        >>> x = torch.tensor([-7.0, 0.5])
        >>> y, ladj = rational_quadratic_spline(x, torch.zeros(8), torch.zeros(8), torch.zeros(7))
        >>> y, ladj.abs().max() < 1e-5
        (tensor([-7.0000,  0.5000]), tensor(True))
    """
    bins = widths.shape[-1]
    if heights.shape[-1] != bins or derivatives.shape[-1] != bins - 1:
        got = f"{bins}, {heights.shape[-1]} and {derivatives.shape[-1]}"
        raise ValueError(f"expected K widths, K heights and K - 1 derivatives, got {got}")
    parts = (widths, heights, derivatives)
    batch = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    packed = torch.cat([part.expand(*batch, part.shape[-1]) for part in parts], dim=-1)
    return packed_spline(x, packed.movedim(-1, 0), bound, inverse)


def packed_spline(x: Tensor, packed: Tensor, bound: float, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """The spline of parameters ``(3 K - 1, *batch)``: widths, then heights, then derivatives."""
    bins = (packed.shape[0] + 1) // 3
    if not bound > 0:
        raise ValueError(f"bound must be positive, got {bound}")
    if packed.shape[0] != 3 * bins - 1 or not 1 <= bins < 1 / _FLOOR:
        raise ValueError(f"expected 3 K - 1 parameters with 1 <= K < {1 / _FLOOR:.0f}, got {packed.shape[0]}")
    batch = list(packed.shape[1:])
    while batch and batch[0] == 1:
        batch.pop(0)
    shape = torch.broadcast_shapes(x.shape, tuple(batch))
    own = shape[len(shape) - len(batch) :]  # sets of parameters; the dimensions before share them
    dtype = torch.promote_types(x.dtype, packed.dtype)
    sets, uses = math.prod(own), math.prod(shape[: len(shape) - len(own)])
    table = packed.reshape(3 * bins - 1, *batch).expand(-1, *own).reshape(3 * bins - 1, sets).to(dtype)
    rows = x.expand(shape).reshape(uses, sets).to(dtype)
    y, ladj, *_ = _Spline.apply(rows, table, float(bound), inverse)
    return y.reshape(shape), ladj.reshape(shape)


class _Pieces(NamedTuple):
    """What the backward pass needs of the M x P elements, P sets of parameters being used M times each."""

    t: Tensor  # (M, P), place within the bin
    bin: Tensor  # (M, P), index of the bin
    fractions: Tensor  # (2, K, P), softmax of the unnormalised widths and heights
    left: Tensor  # (2, M, P), x and y of the knot on the left of the element
    right: Tensor  # (2, M, P)
    slopes: Tensor  # (2, M, P), at those two knots


class _Terms(NamedTuple):
    """The quantities of the formula, each ``(M, P)``."""

    width: Tensor
    height: Tensor
    s: Tensor
    bend: Tensor  # d_k + d_{k+1} - 2 s
    r: Tensor  # t (1 - t)
    denominator: Tensor
    alpha: Tensor  # (y - y_k) / h_k
    v: Tensor  # dy/dx = (s / denominator)^2 v


class _Spline(torch.autograd.Function):
    """``(x (M, P), packed (3K-1, P)) -> (y, ladj, *pieces)``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, packed: Tensor, bound: float, inverse: bool) -> tuple[Tensor, ...]:
        pieces = _locate(x, packed, bound, inverse)
        terms = _terms(pieces)
        inside = x.abs() < bound
        low, size, place = (0, terms.width, pieces.t) if inverse else (1, terms.height, terms.alpha)
        y = torch.addcmul(pieces.left[low], size, place)
        ladj = _derivative(terms).log()
        ladj = torch.where(inside, -ladj if inverse else ladj, 0.0)
        return torch.where(inside, y, x), ladj, *pieces

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, packed, ctx.bound, ctx.inverse = inputs
        pieces = output[2:]
        ctx.mark_non_differentiable(*pieces)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, packed, *pieces)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor | None, grad_ladj: Tensor | None, *_: Any) -> Any:
        x, packed, *saved = ctx.saved_tensors
        # A backward pass that is itself differentiated has to see how the pieces depend on the inputs.
        pieces = _locate(x, packed, ctx.bound, ctx.inverse) if torch.is_grad_enabled() else _Pieces(*saved)
        grad_y = torch.zeros_like(x) if grad_y is None else grad_y
        grad_ladj = torch.zeros_like(x) if grad_ladj is None else grad_ladj
        inside = x.abs() < ctx.bound
        grad_x, *grads = _gradients(
            pieces, torch.where(inside, grad_y, 0.0), torch.where(inside, grad_ladj, 0.0), ctx.inverse
        )
        return torch.where(inside, grad_x, grad_y), _to_table(pieces, packed, grads, ctx.bound), None, None


def _locate(x: Tensor, packed: Tensor, bound: float, inverse: bool) -> _Pieces:
    """The bin of every element, its knots, and the place of the element between them."""
    bins = (packed.shape[0] + 1) // 3
    fractions = packed[: 2 * bins].unflatten(0, (2, bins)).softmax(1)
    knots = _knots(fractions, bound)
    point = torch.where(x.abs() < bound, x, 0.0)  # what is outside must not overflow
    index = (point >= knots[int(inverse), 1:bins].unsqueeze(1)).sum(0)
    slopes = F.pad(F.softplus(packed[2 * bins :] + UNIT_SLOPE).add_(_FLOOR), (0, 0, 1, 1), value=1.0)
    pair = index.expand(2, *index.shape)
    left, right = knots.gather(1, pair), knots.gather(1, pair + 1)
    ends = torch.stack([slopes.gather(0, index), slopes.gather(0, index + 1)])
    t = _solve(point, left, right, ends) if inverse else (point - left[0]) / (right[0] - left[0])
    return _Pieces(t, index, fractions, left, right, ends)


def _knots(fractions: Tensor, bound: float) -> Tensor:
    """Knots ``(2, K + 1, P)``; the outer ones are the ends of the interval to the last bit."""
    bins, sets = fractions.shape[1:]
    sizes = torch.mul(fractions[:, :-1], _span(bins, bound)).add_(2 * bound * _FLOOR)
    end = fractions.new_full((2, 1, sets), bound)
    return _accumulate(torch.cat([-end, sizes, end], dim=1), bins)


def _accumulate(table: Tensor, count: int) -> Tensor:
    """Cumulative sum of the first rows of ``(2, K + 1, P)``, in place; ``cumsum`` is no vector code on a CPU."""
    for row in range(1, count):
        table[:, row] += table[:, row - 1]
    return table


def _span(bins: int, bound: float) -> float:
    """What the floors leave of the interval."""
    return 2 * bound * (1 - _FLOOR * bins)


def _solve(y: Tensor, left: Tensor, right: Tensor, slopes: Tensor) -> Tensor:
    """The ``t`` in [0, 1] of ``y``: the root of ``a t^2 + b t + c``, by whichever form subtracts nothing alike."""
    width, height = right - left
    s = height / width
    rise = y - left[1]
    bend = rise * (slopes[0] + slopes[1] - 2 * s)
    a, b, c = height * (s - slopes[0]) + bend, height * slopes[0] - bend, -s * rise
    root = (b * b - 4 * a * c).clamp(min=0).sqrt()  # rounding can make it negative
    positive = b >= 0
    t = torch.where(positive, -2 * c, root - b) / torch.where(positive, b + root, 2 * a)
    return t.clamp(0, 1)


def _terms(pieces: _Pieces) -> _Terms:
    t, (d0, d1) = pieces.t, pieces.slopes
    width, height = pieces.right - pieces.left
    rest = 1 - t
    s, r = height / width, t * rest
    bend = d0 + d1 - 2 * s
    denominator = s + bend * r
    alpha = (s * t * t + d0 * r) / denominator
    v = d1 * t * t + 2 * s * r + d0 * rest * rest
    return _Terms(width, height, s, bend, r, denominator, alpha, v)


def _derivative(terms: _Terms) -> Tensor:
    """``dy/dx``."""
    return (terms.s / terms.denominator).square() * terms.v


def _gradients(pieces: _Pieces, grad_y: Tensor, grad_ladj: Tensor, inverse: bool) -> tuple[Tensor, ...]:
    """Gradients with respect to the input, and to x, y and slope of the knots left and right, ``(3, M, P)`` each."""
    t, (d0, d1) = pieces.t, pieces.slopes
    terms = _terms(pieces)
    width, height, s, bend, r, denominator, alpha, v = terms
    rest, tilt = 1 - t, 1 - 2 * t
    ladj_t = 2 * ((d1 * t - d0 * rest + s * tilt) / v - bend * tilt / denominator)
    if inverse:
        # With x = f^-1(y; p): dx = (dy - df/dp dp) / f'(x), and the log-derivative is -log f'(x).
        grad_ladj = -grad_ladj
        grad_y = -(grad_y + grad_ladj * ladj_t / width) / _derivative(terms)
    grad_alpha = grad_y * height / denominator
    grad_v = grad_ladj / v
    grad_t = grad_alpha * s * v / denominator + grad_ladj * ladj_t
    common = 2 * grad_ladj / denominator
    flat = 1 - 2 * r
    grad_s = grad_alpha * (t * t - alpha * flat) + 2 * (grad_ladj / s + grad_v * r) - common * flat
    grad_d0 = grad_alpha * r * (1 - alpha) + grad_v * rest * rest - common * r
    grad_d1 = grad_v * t * t - (grad_alpha * alpha + common) * r
    grad_x = grad_t / width
    grad_width = -(grad_x * t + grad_s * s / width)
    grad_height = grad_y * alpha + grad_s / width
    left = torch.stack([-grad_x - grad_width, grad_y - grad_height, grad_d0])
    right = torch.stack([grad_width, grad_height, grad_d1])
    return -grad_y if inverse else grad_x, left, right


def _to_table(pieces: _Pieces, packed: Tensor, grads: list[Tensor], bound: float) -> Tensor:
    """Carry the gradients of the knots back to the unnormalised parameters ``(3 K - 1, P)``."""
    left, right = grads
    bins, sets = pieces.fractions.shape[1:]
    index = pieces.bin.expand(3, *pieces.bin.shape)
    table = left.new_zeros(3, bins + 1, sets).scatter_add_(1, index, left).scatter_add_(1, index + 1, right)
    # Knot j is the sum of the fractions before it. The sum over j > i, and minus that over j <= i, differ by a
    # constant, which the softmax does not feel.
    weighted = pieces.fractions * _accumulate(table[:2], bins)[:, :bins]
    grad_sizes = torch.addcmul(weighted, pieces.fractions, weighted.sum(1, keepdim=True), value=-1).mul_(
        -_span(bins, bound)
    )
    grad_slopes = (packed[2 * bins :] + UNIT_SLOPE).sigmoid_() * table[2, 1:bins]
    return torch.cat([grad_sizes.flatten(0, 1), grad_slopes])
