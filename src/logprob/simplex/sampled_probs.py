"""Category probabilities by sampling one Gaussian at a time: a check of the quadrature, and a way without it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.simplex.category_quadrature import log_ndtr


class Estimate(NamedTuple):
    """Probabilities and their standard errors, ``(..., K)``."""

    probs: Tensor
    standard_error: Tensor


def rao_blackwell_probs(
    loc: Tensor, scale: Tensor, threshold: Tensor | float | None = 0.0, samples: int = 1000
) -> Estimate:
    """Probabilities that each of some Gaussians, or else the threshold, is the largest, from draws.

    With ``y_k ~ N(loc_k, scale_k^2)`` and the threshold c, ``P(k) = E [y_k > c] prod_{j != k} Phi((y_k - loc_j) /
    scale_j)``: the average over ``y_k`` of the probability that the others lie below, which varies less than the
    frequency of k. ``P(K) = prod_j Phi((c - loc_j) / scale_j)`` is exact. Estimates are independent of each other and
    need not sum to 1. Their gradients with respect to ``loc`` and ``scale`` are unbiased only without a threshold,
    which cuts draws off. Memory is ``samples * (K - 1)^2`` a variable.

    Args:
        loc: ``(..., n)``.
        scale: ``(..., n)``, > 0, broadcast with ``loc``.
        threshold: c, a number or of the batch shape; None for the argmax of the Gaussians alone.
        samples: draws of each Gaussian, at least 2.

    Returns:
        Shapes ``(..., n + 1)``, the threshold last, or ``(..., n)`` if there is none.

    Raises:
        ValueError: if there are fewer than two samples, or if a scale is not positive.

    Example:
        >>> import torch
        >>> probs, error = rao_blackwell_probs(torch.zeros(2), torch.ones(2), samples=10_000)
        >>> ((probs - torch.tensor([0.375, 0.375, 0.25])).abs() <= 5 * error).all()
        tensor(True)
    """
    if samples < 2:
        raise ValueError(f"expected at least 2 samples, got {samples}")
    if (scale <= 0).any():
        raise ValueError(f"expected scale > 0, got {scale.min().item()}")
    loc, scale = torch.broadcast_tensors(loc, scale)
    if threshold is None:
        return _average(_below(loc, scale, samples)[1])
    level = torch.as_tensor(threshold, dtype=loc.dtype, device=loc.device).unsqueeze(-1)
    loc, scale = (x.expand(torch.broadcast_shapes(x.shape, level.shape)) for x in (loc, scale))
    draws, below = _below(loc, scale, samples)
    probs, error = _average(torch.where(draws > level, below, 0.0))
    last = log_ndtr((level - loc) / scale).sum(-1, keepdim=True).exp()
    return Estimate(torch.cat([probs, last], -1), F.pad(error, (0, 1)))


def _below(loc: Tensor, scale: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Draws ``(S, ..., n)``, and the probabilities that all other Gaussians lie below each."""
    draws = loc + scale * torch.randn(samples, *loc.shape, dtype=loc.dtype, device=loc.device)
    log_cdf = log_ndtr((draws.unsqueeze(-1) - loc.unsqueeze(-2)) / scale.unsqueeze(-2))  # (S, ..., n, n)
    others = log_cdf.sum(-1) - log_cdf.diagonal(dim1=-2, dim2=-1)
    return draws, others.exp()


def _average(values: Tensor) -> Estimate:
    return Estimate(values.mean(0), values.std(0) / len(values) ** 0.5)
