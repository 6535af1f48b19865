"""Bounds of the mean of a log-sum-exp of Gaussians, on which the entropy of a logistic-normal law hangs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_STEPS = 60  # halvings: the bracket shrinks to the last bit of a double


def log_sum_exp_bounds(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper bound of ``E log sum_k exp(x_k)`` for independent ``x_k ~ N(loc_k, scale_k^2)``, in closed form.

    Lower, the larger of two: the log-sum-exp of the means, which is Jensen's; the largest mean of a maximum of two,
    ``E max(x_i, x_j)``. Upper, the smaller of two: for any weights a, ::

        1/2 sum_k a_k^2 scale_k^2 + log sum_k exp(loc_k + (1/2 - a_k) scale_k^2)

    which is Jensen's for ``x - sum_k a_k x_k``; and for any t, ``t + sum_k E max(x_k - t, 0) + log K``, as a
    log-sum-exp is at most its largest term plus log K. The first is sharp for small scales, the second for large ones.
    The weights and t are chosen near their best; any choice is a bound.

    Args:
        loc: means, ``(..., K)``.
        scale: standard deviations, ``(..., K)``, >= 0; 0 is a constant.

    Returns:
        The two bounds, ``(...)``.

    References:
        Knowles and Minka, "Non-conjugate Variational Message Passing", NeurIPS 2011 (the weights); Clark, Operations
        Research 1961 (the maximum of two); Lai and Robbins, PNAS 1976 (the maximum of many).

    Example:
        >>> import torch
        >>> lower, upper = log_sum_exp_bounds(torch.zeros(3), torch.full((3,), 0.1))
        >>> f"{lower:.4f} {upper:.4f}"
        '1.0986 1.1019'
    """
    lower = torch.maximum(loc.logsumexp(-1), _pairs(loc, scale).flatten(-2).amax(-1))
    upper = torch.minimum(_tilted(loc, scale), _largest(loc, scale) + math.log(loc.shape[-1]))
    return lower, upper


def _positive_part(loc: Tensor, scale: Tensor) -> Tensor:
    """``E max(x, 0)`` for ``x ~ N(loc, scale^2)``."""
    spread = scale > 0
    safe = torch.where(spread, scale, 1.0)
    z = loc / safe
    density = (-0.5 * z * z).exp() / math.sqrt(2 * math.pi)
    return torch.where(spread, loc * torch.special.ndtr(z) + safe * density, loc.relu())


def _pairs(loc: Tensor, scale: Tensor) -> Tensor:
    """``E max(x_i, x_j)`` of all pairs; ``i = j`` gives no more than the mean."""
    difference = loc.unsqueeze(-1) - loc.unsqueeze(-2)
    variance = scale.square()
    together = (variance.unsqueeze(-1) + variance.unsqueeze(-2)) * (1 - torch.eye(loc.shape[-1]).to(scale))
    spread = together > 0
    return loc.unsqueeze(-2) + _positive_part(difference, torch.where(spread, together, 1.0).sqrt() * spread)


def _tilted(loc: Tensor, scale: Tensor) -> Tensor:
    """The least over some weights of the bound with weights; they start at the category of the largest mean."""
    variance = scale.square()
    best = None
    weights = loc.detach().softmax(-1)
    for _ in range(12):
        bound = 0.5 * (weights.square() * variance).sum(-1) + (loc + (0.5 - weights) * variance).logsumexp(-1)
        best = bound if best is None else torch.minimum(best, bound)
        stationary = (loc + (0.5 - weights) * variance).detach().softmax(-1)
        weights = 0.5 * (weights + stationary)
    assert best is not None
    return best


def _largest(loc: Tensor, scale: Tensor) -> Tensor:
    """Upper bound of the mean of the largest; at the best t the expected number of larger ones is 1."""
    with torch.no_grad():
        reach = 10 * scale.amax(-1, keepdim=True)
        low, high = loc.amin(-1, keepdim=True) - reach, loc.amax(-1, keepdim=True) + reach
        for _ in range(_STEPS):
            middle = (low + high) / 2
            z = (loc - middle) / scale.clamp(min=torch.finfo(scale.dtype).tiny)
            many = torch.special.ndtr(z).sum(-1, keepdim=True) > 1
            low, high = torch.where(many, middle, low), torch.where(many, high, middle)
    return low.squeeze(-1) + _positive_part(loc - low, scale).sum(-1)
