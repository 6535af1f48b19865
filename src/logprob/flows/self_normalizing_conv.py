"""The self-normalizing convolution as one autograd function: its log-determinant's gradient comes from the inverse."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from logprob.flows.base import DEFAULT_OPTIONS, SurrogateOptions
from logprob.flows.conv_geometry import ConvGeometry, tap_counts
from logprob.flows.self_normalizing import REACHES_WEIGHT, SYMMETRIC, in_autocast, mean_square

__all__ = ["relative_conv2d", "self_normalizing_conv2d", "tap_counts"]


def self_normalizing_conv2d(
    x: Tensor,
    weight: Tensor,
    inverse_weight: Tensor,
    bias: Tensor | None,
    geometry: ConvGeometry,
    options: SurrogateOptions = DEFAULT_OPTIONS,
    value: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Convolution, surrogate of its log-determinant, and reconstruction energy.

    With ``z0 = W * x``, upstream gradients ``G`` of ``z``, ``g`` of the log-determinant and ``e`` of the energy
    ``E = mean_b ||R * z0 - x||^2``, and ``m`` the tap counts,

    ``gx = W^t * G``, ``gW = c (G x^t + g flip(R) m)``, ``gR = -c (gx z0^t + g flip(W) flip(m))``

    plus the gradients of ``E``, in which ``x`` is a constant. The products run in the autocast dtype; the terms with
    ``m`` are added in the dtype of the parameters. First derivatives only.

    Args:
        x: images ``(B, C, H, W)``.
        weight: kernel ``W``, ``(C, C/groups, kh, kw)``.
        inverse_weight: kernel ``R`` of the learned inverse, of the same shape.
        bias: ``(C,)`` or None.
        geometry: kernel size, dilation, groups and padding.
        options: which energy, and the constant ``c``: 1 for scale ``"full"``, 1/2 for ``"paper"``.
        value: what the log-determinant shows as its value, a scalar; zero by default.

    Returns:
        ``z`` of the shape of ``x``, a scalar of which only the gradient means anything, and the energy, a scalar,
        or None where ``options`` ask for none.

    Raises:
        RuntimeError: on a second differentiation.

    References:
        T. A. Keller et al., Self Normalizing Flows, ICML 2021.
    """
    if value is None:
        value = torch.zeros((), dtype=weight.dtype, device=weight.device)
    z, ladj, energy = _SelfNormalizing.apply(x, weight, inverse_weight, bias, value, geometry, options)
    return z, ladj, energy


def relative_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry, value: Tensor
) -> tuple[Tensor, Tensor]:
    """1x1 convolution whose kernel gets the exact gradient times ``W^t W`` from the right: no inverse is needed.

    ``gW = G (W^t z0)^t + g H W W`` for an image of ``H W`` positions. First derivatives only.

    Args:
        x: images ``(B, C, H, W)``.
        weight: ``(C, C/groups, 1, 1)``.
        bias: ``(C,)`` or None.
        geometry: of a 1x1 kernel.
        value: what the log-determinant shows as its value, a scalar.

    References:
        L. Gresele et al., Relative gradient optimization of the Jacobian term in unsupervised deep learning,
        NeurIPS 2020.
    """
    z, ladj = _Relative.apply(x, weight, bias, value, geometry)
    return z, ladj


class _SelfNormalizing(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        inverse_weight: Tensor,
        bias: Tensor | None,
        value: Tensor,
        geometry: ConvGeometry,
        options: SurrogateOptions,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)  # an output that the loss does not use costs no product
        ctx.geometry, ctx.options = geometry, options
        low_x, w, r = in_autocast(x), in_autocast(weight), in_autocast(inverse_weight)
        z0 = geometry.apply(low_x, w)
        guess = error = z_error = energy = None
        if options.penalty is not None:
            guess = geometry.apply(z0, r)
            error = guess - low_x
            energy = mean_square(error)
            if options.penalty in SYMMETRIC:
                z_error = geometry.apply(guess, w).sub_(z0)
                energy = (energy + mean_square(z_error)) / 2
            else:
                guess = None
        ctx.save_for_backward(low_x, z0, w, r, weight, inverse_weight, error, guess, z_error)
        return _add_bias(z0, bias), value.clone(), energy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, g: Tensor | None, ladj_gradient: Tensor | None, energy_gradient: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, z0, w, r, weight, inverse_weight, error, guess, z_error = ctx.saved_tensors
        geometry: ConvGeometry = ctx.geometry
        penalty, scale = ctx.options.penalty, 1.0 if ctx.options.scale == "full" else 0.5
        needs_x, needs_w, needs_r, needs_b = ctx.needs_input_grad[:4]
        t, u = _error_gradients(energy_gradient, error, z_error, w, geometry)
        gx = geometry.transpose(g, w) if g is not None and (needs_x or needs_r) else None
        ladj = None if ladj_gradient is None else scale * ladj_gradient.to(weight.dtype)
        image = (x.shape[2], x.shape[3])
        gw = gr = None
        if needs_w:
            back = t if t is not None and penalty in REACHES_WEIGHT else None
            outer = _combine(g, scale, None if back is None else geometry.transpose(back, r))
            product = _stacked_gradient(outer, x, u, guess, geometry)
            gw = _add_log_det(product, ladj, inverse_weight, geometry, image)
        if needs_r:
            outer = _combine(gx, -scale, t)
            product = None if outer is None else geometry.kernel_gradient(outer, z0)
            gr = _add_log_det(product, None if ladj is None else -ladj, weight, geometry, image)
        gb = g.sum((0, 2, 3)) if g is not None and needs_b else None
        return gx if needs_x else None, gw, gr, gb, None, None, None


def _error_gradients(
    upstream: Tensor | None, error: Tensor | None, z_error: Tensor | None, w: Tensor, geometry: ConvGeometry
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the energy in ``R * z0`` and, for the symmetric one, in ``W * R * z0``."""
    if upstream is None or error is None:
        return None, None
    share = (upstream / len(error)).to(error.dtype)
    if z_error is None:
        return error * (2 * share), None
    u = z_error * share
    return torch.addcmul(geometry.transpose(u, w), error, share), u


def _combine(g: Tensor | None, factor: float, other: Tensor | None) -> Tensor | None:
    """``factor g + other``, of what there is."""
    if g is None:
        return other
    if other is None:
        return g if factor == 1 else g * factor
    return torch.add(other, g, alpha=factor)


def _stacked_gradient(
    outer: Tensor | None, x: Tensor, u: Tensor | None, guess: Tensor | None, geometry: ConvGeometry
) -> Tensor | None:
    """``outer x^t + u guess^t`` over the whole batch, as one kernel gradient."""
    if u is not None and guess is not None:
        outer, x = (u, guess) if outer is None else (torch.cat([outer, u]), torch.cat([x, guess]))
    return None if outer is None else geometry.kernel_gradient(outer, x)


def _add_log_det(
    product: Tensor | None, ladj: Tensor | None, kernel: Tensor, geometry: ConvGeometry, image: tuple[int, int]
) -> Tensor | None:
    """``product + ladj flip(kernel) m``, the second term in the dtype of the parameters."""
    if product is not None:
        product = product.to(kernel.dtype)
    if ladj is None:
        return product
    term = geometry.flip(kernel) * geometry.counts(image, kernel)
    return term * ladj if product is None else torch.addcmul(product, term, ladj)


def _add_bias(z0: Tensor, bias: Tensor | None) -> Tensor:
    # A clone where there is no bias: an output of the function may be changed in place, what it saved may not.
    return z0.clone() if bias is None else z0 + bias.to(z0.dtype)[:, None, None]


class _Relative(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor, geometry: ConvGeometry
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.geometry = geometry
        w = in_autocast(weight)
        z0 = geometry.apply(in_autocast(x), w)
        ctx.save_for_backward(z0, w, weight)
        return _add_bias(z0, bias), value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor | None, ladj_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        z0, w, weight = ctx.saved_tensors
        geometry: ConvGeometry = ctx.geometry
        needs_x, needs_w, needs_b = ctx.needs_input_grad[:3]
        gw = None
        if needs_w and g is not None:
            gw = geometry.kernel_gradient(g, geometry.transpose(z0, w)).to(weight.dtype)
        if needs_w and ladj_gradient is not None:
            term = weight * (ladj_gradient * (z0.shape[2] * z0.shape[3])).to(weight.dtype)
            gw = term if gw is None else gw + term
        gx = geometry.transpose(g, w) if g is not None and needs_x else None
        gb = g.sum((0, 2, 3)) if g is not None and needs_b else None
        return gx, gw, gb, None, None
