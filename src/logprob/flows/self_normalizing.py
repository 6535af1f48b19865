"""The self-normalizing linear map: six matrix products a step, none of them an inverse or a determinant.

With rows ``X``, ``Z0 = X W^T``, ``Xhat = Z0 R^T`` and upstream gradients ``G = dL/dZ``, ``l = dL/dladj`` and
``e = dL/dE``, one backward pass returns (``c`` is 1, or 1/2 at the published scale)::

    dL/dX = G W                                  E is a function of detached X
    T     = (2 e / B) (Xhat - X)
    dL/dW = (c G + T R)^T X + c l R^T            R^T stands for W^-T
    dL/dR = (T - c G W)^T Z0 - c l W^T

Both scalars come from upstream, so that sums, means, weights, accumulation and loss scaling are all right.

Source: Keller, Peters, Jaini, Hoogeboom, Forré, Welling, "Self Normalizing Flows", ICML 2021.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from logprob.flows.base import Penalty, SurrogateOptions

SYMMETRIC = ("symmetric", "symmetric-inverse")
REACHES_WEIGHT = ("both", "symmetric")  # penalties whose gradient reaches W through its product with R


class LinearSurrogate(NamedTuple):
    """What :func:`self_normalizing_linear` returns: outputs, a scalar log-determinant, and the energy if asked for."""

    z: Tensor
    ladj: Tensor
    energy: Tensor | None


def self_normalizing_linear(
    x: Tensor,
    weight: Tensor,
    inverse_weight: Tensor,
    bias: Tensor | None,
    options: SurrogateOptions,
    value: Tensor,
) -> LinearSurrogate:
    """``z = x W^T + b`` whose log-determinant has the gradient ``R^T`` in the place of ``W^-T``.

    Args:
        x: rows, ``(N, D)``.
        weight: ``W``, ``(D, D)``.
        inverse_weight: ``R``, ``(D, D)``, an approximation of ``W^-1``.
        bias: ``(D,)`` or None.
        options: penalty and scale.
        value: scalar that the log-determinant returns as its value.

    Returns:
        ``(z, ladj, energy)``; ``ladj`` is a scalar for every example alike, and ``energy`` is None without a
        penalty. Their gradients can be taken once only.
    """
    scale = 1.0 if options.scale == "full" else 0.5
    return LinearSurrogate(*_Linear.apply(x, weight, inverse_weight, bias, value, options.penalty, scale))


def relative_linear(x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor) -> LinearSurrogate:
    """``z = x W^T + b`` whose weight gets the exact gradient times ``W^T W`` from the right: no inverse is needed.

    ``dL/dW = (G^T Z0 + l I) W``. It is a direction of descent, not the Euclidean gradient; an optimizer that
    rescales entries (Adam) makes another algorithm of it.

    Source: Gresele, Fissore, Javaloy, Schölkopf, Hyvärinen, "Relative gradient optimization of the Jacobian
    term in unsupervised deep learning", NeurIPS 2020.
    """
    z, ladj = _Relative.apply(x, weight, bias, value)
    return LinearSurrogate(z, ladj, None)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        inverse_weight: Tensor,
        bias: Tensor | None,
        value: Tensor,
        penalty: Penalty | None,
        scale: float,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)  # an output that the loss does not use costs no product
        ctx.penalty, ctx.scale = penalty, scale
        x0, w, r = (in_autocast(tensor) for tensor in (x, weight, inverse_weight))
        z0 = x0 @ w.T
        # A clone where there is no bias: an output may be changed in place, what is saved may not.
        z = z0.clone() if bias is None else z0 + bias.to(z0.dtype)
        error = x_hat = z_error = energy = None
        if penalty is not None:
            x_hat = z0 @ r.T
            error = x_hat - x0
            energy = mean_square(error)
            if penalty in SYMMETRIC:
                z_error = x_hat @ w.T - z0
                energy = (energy + mean_square(z_error)) / 2
            else:
                x_hat = None
        ctx.save_for_backward(x0, z0, w, r, weight, inverse_weight, error, x_hat, z_error)
        return z, value.clone(), energy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, g: Tensor | None, ladj_gradient: Tensor | None, energy_gradient: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, z0, w, r, weight, inverse_weight, error, x_hat, z_error = ctx.saved_tensors
        needs_x, needs_w, needs_r, needs_b = ctx.needs_input_grad[:4]
        t = u = None
        if energy_gradient is not None and error is not None:
            per_row = energy_gradient / len(x)
            if z_error is None:
                t = error * (2 * per_row)
            else:
                u = z_error * per_row
                t = torch.addmm(error * per_row, u, w)
        gx = g @ w if g is not None and (needs_x or needs_r) else None
        ladj = None if ladj_gradient is None else ladj_gradient * ctx.scale
        gw = _weight_gradient(ctx, g, t, u, x, x_hat, r, inverse_weight, ladj) if needs_w else None
        gr = _inverse_gradient(ctx, gx, t, z0, weight, ladj) if needs_r else None
        gb = g.sum(0) if g is not None and needs_b else None
        return gx if needs_x else None, gw, gr, gb, None, None, None


def _weight_gradient(
    ctx: Any,
    g: Tensor | None,
    t: Tensor | None,
    u: Tensor | None,
    x: Tensor,
    x_hat: Tensor | None,
    r: Tensor,
    inverse_weight: Tensor,
    ladj: Tensor | None,
) -> Tensor | None:
    """``(c G + T R)^T X + U^T Xhat + c l R^T``, summed into one buffer."""
    outer = None if g is None else g if ctx.scale == 1 else g * ctx.scale
    if t is not None and ctx.penalty in REACHES_WEIGHT:
        outer = t @ r if outer is None else torch.addmm(outer, t, r)
    total = _scaled_transpose(inverse_weight, ladj)
    total = _add_product(total, outer, x, inverse_weight.dtype)
    return _add_product(total, u, x_hat, inverse_weight.dtype)


def _inverse_gradient(
    ctx: Any, gx: Tensor | None, t: Tensor | None, z0: Tensor, weight: Tensor, ladj: Tensor | None
) -> Tensor | None:
    """``(T - c G W)^T Z0 - c l W^T``."""
    outer = t
    if gx is not None:
        outer = gx * -ctx.scale if t is None else torch.sub(t, gx, alpha=ctx.scale)
    total = _scaled_transpose(weight, None if ladj is None else -ladj)
    return _add_product(total, outer, z0, weight.dtype)


def _scaled_transpose(matrix: Tensor, factor: Tensor | None) -> Tensor | None:
    """A fresh ``factor * matrix^T`` in C order: the products are added into it."""
    if factor is None:
        return None
    # A clone even where the transpose is contiguous already: what follows writes in place.
    return matrix.t().clone(memory_format=torch.contiguous_format).mul_(factor.to(matrix.dtype))


def _add_product(total: Tensor | None, left: Tensor | None, right: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """``total + left^T right`` in place; half-precision products are added in the type of the parameters."""
    if left is None or right is None:
        return total
    if total is None:
        return (left.t() @ right).to(dtype)
    if left.dtype == total.dtype:
        return total.addmm_(left.t(), right)
    return total.add_(left.t() @ right)


def mean_square(error: Tensor) -> Tensor:
    """Mean over the batch of the squared norm of an example, in float32 at least."""
    wide = error.to(torch.promote_types(error.dtype, torch.float32)).flatten()
    return torch.dot(wide, wide) / len(error)


def in_autocast(tensor: Tensor) -> Tensor:
    """The tensor in the type that products have here: that of autocast, or its own."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device) or tensor.dtype == torch.float64:
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))


class _Relative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        x0, w = in_autocast(x), in_autocast(weight)
        z0 = x0 @ w.T
        ctx.save_for_backward(z0, w, weight)
        return (z0.clone() if bias is None else z0 + bias.to(z0.dtype)), value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor | None, ladj_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        z0, w, weight = ctx.saved_tensors
        needs_x, needs_w, needs_b = ctx.needs_input_grad[:3]
        gw = None
        if needs_w:
            total = None if ladj_gradient is None else weight * ladj_gradient.to(weight.dtype)
            gw = _add_product(total, g, None if g is None else z0 @ w, weight.dtype)
        gx = g @ w if g is not None and needs_x else None
        gb = g.sum(0) if g is not None and needs_b else None
        return gx, gw, gb, None
