"""Gram matrices with unit diagonal: the algebra of squares that are integrated.

``Z_ij = int h_i(x) h_j(x) dx`` over the unobserved variables of a region is stored as
``Z = diag(e^d) C diag(e^d)`` with ``diag(C) = 1``. As Z is positive semi-definite, ``|C_ij| <= 1``, and the
elementwise product of two such matrices is another: nothing over- or underflows. The norms ``d`` are constants of
the gradient; they cancel exactly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from logprob.circuits.scaled import absorb
from logprob.circuits.signed_log import SignedLog


class Gram(NamedTuple):
    """``Z = diag(exp(log_norm)) C diag(exp(log_norm))``: ``C`` is ``(F, B, K, K)``, ``log_norm`` ``(F, B, K)``."""

    correlation: Tensor
    log_norm: Tensor


def from_matrix(matrix: Tensor, log_units: Tensor | float = 0.0) -> Gram:
    """Normalise ``diag(e^l) G diag(e^l)``; a unit without norm, to rounding, is left as it is, with its gradient."""
    square = matrix.detach().diagonal(dim1=-2, dim2=-1)
    norm = square.masked_fill(square <= 0, 1.0).sqrt()
    correlation = matrix / (norm.unsqueeze(-1) * norm.unsqueeze(-2))
    return Gram(correlation, norm.double().log() + log_units)


def from_vector(vector: SignedLog, dtype: torch.dtype) -> Gram:
    """The rank-one matrix ``h h^T`` of an observed region."""
    zero = vector.log_abs == -math.inf
    smallest = vector.log_abs.masked_fill(zero, math.inf).amin(-1, keepdim=True)
    # A unit that is zero keeps its gradient, at a scale that leaves that of the others alone.
    log_norm = torch.where(zero, smallest.masked_fill(smallest == math.inf, 0.0), vector.log_abs)
    unit = vector.unit.to(dtype)
    return Gram(unit.unsqueeze(-1) * unit.unsqueeze(-2), log_norm)


def product(left: Gram, right: Gram) -> Gram:
    """Unit by unit: the elementwise product of the matrices."""
    return Gram(left.correlation * right.correlation, left.log_norm + right.log_norm)


def weighted_sum(weight: Tensor, state: Gram) -> Gram:
    """``W Z W^T`` with ``W`` of shape ``(F, K_out, K)``."""
    scaled, row = absorb(weight, state.log_norm)
    return from_matrix(scaled @ state.correlation @ scaled.mT, row)


def bilinear(weight: Tensor, left: Gram, right: Gram) -> Gram:
    """``sum_ijpq W_kij W_lpq A_ip B_jq``, contracted pairwise in O(K^4)."""
    pairs = (left.log_norm.unsqueeze(-1) + right.log_norm.unsqueeze(-2)).flatten(-2)
    scaled, row = absorb(weight.flatten(2), pairs)
    cube = scaled.unflatten(-1, weight.shape[2:])  # (F, B, K_out, K, K)
    half = left.correlation.unsqueeze(2) @ cube @ right.correlation.unsqueeze(2)
    return from_matrix(half.flatten(-2) @ scaled.mT, row)


def log_total(state: Gram) -> Tensor:
    """``log Z`` of a state with one unit, ``(F, B)``."""
    value = state.correlation[..., 0, 0]
    zero = value <= 0
    return value.masked_fill(zero, 1.0).log().masked_fill(zero, -math.inf) + 2 * state.log_norm[..., 0]
