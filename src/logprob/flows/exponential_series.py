"""What the exponential of a convolution is made of: the cut series, its remainder, and the norm of the operator."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def convolution_exponential(x: Tensor, kernel: Tensor, terms: int, tolerance: float | None = None) -> Tensor:
    """``sum_{n=0}^{terms} K^n x / n!`` for the zero-padded convolution by ``kernel``.

    Args:
        x: images ``(B, C, H, W)``.
        kernel: ``(C, C, 3, 3)``, used as it is.
        terms: largest power.
        tolerance: stop as soon as no entry of a term exceeds it; None: never stop early.
    """
    z = term = x
    for n in range(1, terms + 1):
        term = F.conv2d(term, kernel / n, padding=1)
        z = z + term
        if tolerance is not None and bool((term.detach().abs() <= tolerance).all()):
            break
    return z


def rescale(kernel: Tensor, u: Tensor, v: Tensor, norm: float = 0.9) -> Tensor:
    """``kernel / (max(1, sigma / norm) + 1e-5)`` with ``sigma = u . K v``; ``u, v (1, C, H, W)`` of length one."""
    sigma = (u * F.conv2d(v, kernel, padding=1)).sum()
    return kernel / ((sigma / norm).clamp(min=1) + 1e-5)


def power_step(kernel: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """One power iteration: ``v = normalize(K^T u)``, then ``u = normalize(K v)``; zeros leave a vector as it was."""
    v = _normalize(F.conv_transpose2d(u, kernel, padding=1), v)
    return _normalize(F.conv2d(v, kernel, padding=1), u), v


def remainder_bound(norm: float, terms: int) -> float:
    """``sum_{n > terms} norm^n / n!``: what the cut series misses of ``exp(K) x``, at most, in units of ``||x||``."""
    term = norm ** (terms + 1) / math.factorial(terms + 1)
    total, n = 0.0, terms + 1
    while total + term > total:
        total, n = total + term, n + 1
        term *= norm / n
    return total


def _normalize(vector: Tensor, fallback: Tensor) -> Tensor:
    length = vector.norm()
    return torch.where(length > 0, vector / length, fallback)
