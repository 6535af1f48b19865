"""Signed logarithms of every unit: the slow algebra that no product can leave.

It redoes the rows that :mod:`logprob.circuits.scaled` marks, and is the reference that the tests hold the fast
path against. A unit that is exactly zero has no gradient here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from logprob.circuits import scaled
from logprob.circuits.scaled import Scaled, absorb, nonzero


class SignedLog(NamedTuple):
    """``h = unit * exp(log_abs)``, both ``(F, B, K)``.

    ``unit`` is 1, -1 or 0 and carries the gradient; the log-magnitudes, in float64, are constants of it.
    """

    log_abs: Tensor
    unit: Tensor


def from_linear(values: Tensor) -> SignedLog:
    """Log-magnitudes and signs of ``values``; zero becomes -inf."""
    size = values.detach().abs()
    return SignedLog(size.double().log(), values / nonzero(size))


def from_log(log_values: Tensor) -> SignedLog:
    """Positive values given by their logarithms."""
    constant = log_values.detach()
    return SignedLog(constant.double(), (log_values - constant).exp())


def to_scaled(state: SignedLog, dtype: torch.dtype) -> Scaled:
    """The same values with one log-scale for each row and region."""
    values, log_scale = scaled.from_log(state.log_abs)
    return Scaled((state.unit * values).to(dtype), log_scale)


def product(left: SignedLog, right: SignedLog) -> SignedLog:
    """Unit by unit."""
    return SignedLog(left.log_abs + right.log_abs, left.unit * right.unit)


def weighted_sum(weight: Tensor, state: SignedLog) -> SignedLog:
    """``y_k = sum_j W_kj h_j``, each output with a scale of its own; ``(F, B, K_out, K)`` numbers in flight."""
    rows, row = absorb(weight.double(), state.log_abs)
    total = from_linear((rows * state.unit.unsqueeze(-2)).sum(-1))
    return SignedLog(total.log_abs + row, total.unit)


def bilinear(weight: Tensor, left: SignedLog, right: SignedLog) -> SignedLog:
    """``y_k = sum_ij W_kij a_i b_j``."""
    pairs = SignedLog(
        (left.log_abs.unsqueeze(-1) + right.log_abs.unsqueeze(-2)).flatten(-2),
        (left.unit.unsqueeze(-1) * right.unit.unsqueeze(-2)).flatten(-2),
    )
    return weighted_sum(weight.flatten(2), pairs)


def log_magnitude(state: SignedLog) -> Tensor:
    """``log|h|`` of a state with one unit, ``(F, B)``; zero gives -inf with zero gradient."""
    unit = state.unit.squeeze(-1)
    return unit.masked_fill(unit == 0, 1.0).abs().log() + state.log_abs.squeeze(-1)
