"""Divergence of diagonal Gaussians from their logarithmic scales, with a backward pass written by hand.

Half of the time goes to fresh memory, so what is not returned is changed in place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def gaussian_kl(loc_q: Tensor, log_scale_q: Tensor, loc_p: Tensor, log_scale_p: Tensor) -> Tensor:
    """Kullback-Leibler divergence of two diagonal Gaussians, exact, summed over the last dimension.

    With ``d = log_scale_q - log_scale_p`` and ``z = (loc_q - loc_p) / exp(log_scale_p)``::

        KL(q || p) = 1/2 sum_k [exp(2 d_k) - 1 - 2 d_k + z_k^2]

    Derivatives in reverse mode are exact, of any order, with respect to all four arguments; forward mode raises.

    Args:
        loc_q: ``(..., D)``; the arguments broadcast.
        log_scale_q: natural logarithms of the standard deviations of q.
        loc_p: means of p.
        log_scale_p: natural logarithms of the standard deviations of p.

    Returns:
        Divergences in nats, shape ``(...)``.

    Example:
        >>> import torch
        >>> gaussian_kl(torch.ones(3), torch.zeros(3), torch.zeros(3), torch.zeros(3))
        tensor(1.5000)
    """
    if torch.compiler.is_compiling():  # a compiler fuses the plain formula by itself
        d = log_scale_q - log_scale_p
        excess, z = _terms(d, loc_q, loc_p, log_scale_p)
        return 0.5 * (excess - 2 * d + z * z).sum(-1)
    return _GaussianKL.apply(loc_q, log_scale_q, loc_p, log_scale_p)[0]


class _GaussianKL(torch.autograd.Function):
    """``(loc_q, log_scale_q, loc_p, log_scale_p) -> (kl, excess, z)``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(loc_q: Tensor, log_scale_q: Tensor, loc_p: Tensor, log_scale_p: Tensor) -> tuple[Tensor, ...]:
        d = log_scale_q - _rows(log_scale_p, log_scale_q)
        excess, z = _terms(d, loc_q, loc_p, log_scale_p)
        twice = torch.addcmul(excess, z, z).sub_(d).sub_(d)
        return twice.sum(-1).mul_(0.5), excess, z

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None, None
        loc_q, log_scale_q, loc_p, log_scale_p, excess, z = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative has to see how these depend on the inputs
            excess, z = _terms(log_scale_q - log_scale_p, loc_q, loc_p, log_scale_p)
        needs, g = ctx.needs_input_grad, grad.unsqueeze(-1)
        to_loc = (g * z).mul_(_rows((-log_scale_p).exp(), z)) if needs[0] or needs[2] else z
        to_scale = g * excess
        return (
            to_loc.sum_to_size(loc_q.shape) if needs[0] else None,
            to_scale.sum_to_size(log_scale_q.shape) if needs[1] else None,
            -to_loc.sum_to_size(loc_p.shape) if needs[2] else None,
            -(to_scale + g * z * z).sum_to_size(log_scale_p.shape) if needs[3] else None,
        )


def _terms(d: Tensor, loc_q: Tensor, loc_p: Tensor, log_scale_p: Tensor) -> tuple[Tensor, Tensor]:
    """``exp(2 d) - 1``, without loss where the scales nearly agree, and ``z``."""
    factor = (-log_scale_p).exp()
    return (2 * d).expm1_(), torch.addcmul(_rows(-loc_p * factor, loc_q), loc_q, _rows(factor, loc_q))


def _rows(vector: Tensor, like: Tensor) -> Tensor:
    """A vector repeated as often as the variables of a row: to broadcast short rows takes torch five times as long."""
    if vector.dim() != 1 or like.dim() < 2 or vector.shape[-1] != like.shape[-1]:
        return vector
    return vector.expand(like.shape[-2:]).contiguous()
