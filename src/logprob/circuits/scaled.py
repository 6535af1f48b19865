"""Linear values with one log-scale for each row and region: the algebra of the data pass.

A vector ``h`` of units is stored as ``h = exp(log_scale) * values`` with ``max_k |values_k| = 1``. Scales are
constants of the gradient: whatever constant the values are divided by is added to ``log_scale``, so it cancels
exactly in the value and in every derivative.

One thing can go wrong. Where the large entries of two factors are complementary (components dozens of standard
deviations apart), their product leaves the range of floating point although the exact value does not. Such a row is
known by the size of its largest entry. It is marked by ``log_scale = NaN``, which travels to the root, and
:mod:`logprob.circuits.signed_log` computes it again. An exact zero (outside the support) has ``log_scale = -inf``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Scaled(NamedTuple):
    """``h = exp(log_scale) * values``: values ``(F, B, K)``, log-scales ``(F, B)``.

    Log-scales run into the thousands and are one number a row and region: they are float64 in every circuit.
    """

    values: Tensor
    log_scale: Tensor


def is_traced(tensor: Tensor) -> bool:
    """Whether Python cannot branch on the values of ``tensor``: in ``vmap``, at any depth, and in compiled code."""
    if torch.compiler.is_compiling():
        return True
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def decide(condition: Tensor) -> bool:
    """The condition as a Python bool; False where it is traced.

    There the rows that a branch would have served keep the NaN that called for it: loud, never wrong.
    """
    return not is_traced(condition) and bool(condition)


def nonzero(size: Tensor) -> Tensor:
    """What to divide by: ``size``, or 1 where that is 0."""
    return size.masked_fill(size == 0, 1.0)


def rescale(values: Tensor, log_scale: Tensor, floor: Tensor) -> Scaled:
    """Divide by the largest magnitude over the units; at or below ``floor`` ``(F, 1)`` terms may be lost."""
    size = values.detach().abs().amax(-1)  # (F, B)
    safe = nonzero(size)
    marked = torch.where(log_scale == -math.inf, log_scale, math.nan)
    scale = torch.where(size <= floor, marked, log_scale + safe.double().log())
    return Scaled(values / safe.unsqueeze(-1), scale)


def from_log(log_values: Tensor) -> Scaled:
    """Non-negative values given by their logarithms ``(F, B, K)``."""
    top = log_values.detach().amax(-1)
    shift = top.masked_fill(top == -math.inf, 0.0)
    return Scaled((log_values - shift.unsqueeze(-1)).exp(), top.double())


def rescale_support(values: Tensor) -> Scaled:
    """Rescale values of input units, of which an exact zero in every unit means outside the support."""
    size = values.detach().abs().amax(-1)
    return Scaled(values / nonzero(size).unsqueeze(-1), size.double().log())


def product(left: Scaled, right: Scaled) -> Scaled:
    """Unit by unit; not rescaled."""
    return Scaled(left.values * right.values, left.log_scale + right.log_scale)


def weighted_sum(weight: Tensor, state: Scaled) -> Scaled:
    """``y_k = sum_j W_kj h_j`` with ``W`` of shape ``(F, K_out, K)``."""
    values = torch.bmm(state.values, weight.transpose(1, 2))
    return rescale(values, state.log_scale, _floor(weight, weight.shape[2]))


def bilinear(weight: Tensor, left: Scaled, right: Scaled) -> Scaled:
    """``y_k = sum_ij W_kij a_i b_j`` with ``W`` of shape ``(F, K_out, K, K)``, as one GEMM and a row-wise product."""
    folds, out, first, second = weight.shape
    flat = weight.permute(0, 2, 1, 3).reshape(folds, first, out * second)
    partial = torch.bmm(left.values, flat).unflatten(-1, (out, second))  # (F, B, K_out, K)
    values = (partial @ right.values.unsqueeze(-1)).squeeze(-1)
    return rescale(values, left.log_scale + right.log_scale, _floor(weight, first * second))


def log_magnitude(state: Scaled) -> Tensor:
    """``log|h|`` of a state with one unit, ``(F, B)``; an exact zero gives -inf with zero gradient."""
    values = state.values.squeeze(-1)
    return values.masked_fill(values == 0, 1.0).abs().log() + state.log_scale


def absorb(weight: Tensor, log_units: Tensor) -> tuple[Tensor, Tensor]:
    """Move the logarithms of units into the rows of a weight: ``W_kj exp(l_j) = exp(m_k) S_kj`` with ``|S_kj| <= 1``.

    Args:
        weight: ``(F, K_out, J)``.
        log_units: ``(F, B, J)``; ``m_k = max_j (log|W_kj| + l_j)`` is a constant of the gradient.

    Returns:
        ``S`` of shape ``(F, B, K_out, J)`` and ``m`` of shape ``(F, B, K_out)``.
    """
    units = log_units.unsqueeze(-2)
    weight = weight.unsqueeze(1)
    with torch.no_grad():
        row = (weight.abs().log() + units).amax(-1)
        row = torch.where(row == -math.inf, units.amax(-1), row)  # a row of zeros still has a gradient
        row = row.masked_fill(row == -math.inf, 0.0)
    # Not sign(W) exp(log|W| + ..): its gradient at W = 0 is NaN. The cap only meets weights below the smallest
    # normal number, whose exponent would overflow.
    exponent = (units - row.unsqueeze(-1)).clamp(max=math.log(torch.finfo(weight.dtype).max))
    return weight * exponent.exp().to(weight.dtype), row


def _floor(weight: Tensor, terms: int) -> Tensor:
    """Below ``max|W| * terms * tiny^(1/3)`` a sum may have lost terms that matter, here or further up.

    A lost term is at most ``tiny``, relative to the largest input. The cube root leaves room for two more levels at
    which a sibling could promote it, and keeps the factors ``1 / size`` of the backward pass from overflowing.
    """
    room = torch.finfo(weight.dtype).tiny ** (1 / 3)
    return weight.detach().flatten(1).abs().amax(1, keepdim=True) * (terms * room)
