"""Signed logarithms of every unit: the slow algebra that no product can leave.

It redoes the rows that :mod:`logprob.circuits.scaled` marks, and is the reference that the tests hold the fast
path against. A unit that is exactly zero has no gradient here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from logprob.circuits.scaled import absorb


class SignedLog(NamedTuple):
    """``h = sign * exp(log_abs)``, both ``(F, B, K)``; log-magnitudes in float64."""

    log_abs: Tensor
    sign: Tensor


def from_linear(values: Tensor) -> SignedLog:
    """Logarithms and signs of ``values``; zero becomes -inf with zero gradient."""
    zero = values == 0
    magnitude = values.double().masked_fill(zero, 1.0).abs().log()
    return SignedLog(magnitude.masked_fill(zero, -math.inf), values.detach().sign())


def product(left: SignedLog, right: SignedLog) -> SignedLog:
    """Unit by unit."""
    return SignedLog(left.log_abs + right.log_abs, left.sign * right.sign)


rescaled_product = product


def weighted_sum(weight: Tensor, state: SignedLog) -> SignedLog:
    """``y_k = sum_j W_kj h_j``, each output with a scale of its own; ``(F, B, K_out, K)`` numbers in flight."""
    scaled, row = absorb(weight.double(), state.log_abs)
    total = from_linear((scaled * state.sign.unsqueeze(-2)).sum(-1))
    return SignedLog(total.log_abs + row, total.sign)


def bilinear(weight: Tensor, left: SignedLog, right: SignedLog) -> SignedLog:
    """``y_k = sum_ij W_kij a_i b_j``."""
    pairs = SignedLog(
        (left.log_abs.unsqueeze(-1) + right.log_abs.unsqueeze(-2)).flatten(-2),
        (left.sign.unsqueeze(-1) * right.sign.unsqueeze(-2)).flatten(-2),
    )
    return weighted_sum(weight.flatten(2), pairs)
