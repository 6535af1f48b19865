"""Means of Gaussian sticks, exact by quadrature in one dimension."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from logprob.simplex.stick_breaking import sticks

_NARROW = 2.0  # scales up to here are integrated over the noise, wider ones over a logistic variable
_NOISE = (8.75, 0.25)  # half width, step: tails and the trapezoidal error exp(-2 pi (pi / scale) / step) below 1e-16
_LOGISTIC = (40.0, 0.5)  # likewise, with a pole of the logistic density at distance pi
_NEWTON_STEPS = 20


def mean_sticks(loc: Tensor, scale: Tensor) -> Tensor:
    """Means of the K pieces of a stick whose fractions are ``sigmoid(N(loc, scale^2))``, independent.

    ``E eta_k = E v_k prod_{i<k} (1 - E v_i)`` for k < K, and the remainder ``prod_i (1 - E v_i)``, by independence. It
    is exact up to the quadrature of :func:`mean_sigmoid`, and not the law of the longest piece, which is not known in
    closed form.

    Args:
        loc: shape ``(..., K-1)``.
        scale: standard deviations, > 0, broadcast against ``loc``.

    Returns:
        Means, shape ``(..., K)``, with the sum 1; differentiable.

    Example:
        >>> mean_sticks(torch.zeros(2), torch.ones(2))
        tensor([0.5000, 0.2500, 0.2500])
    """
    return sticks(mean_sigmoid(loc, scale))


def mean_sigmoid(loc: Tensor, scale: Tensor) -> Tensor:
    """``E sigmoid(y)`` for ``y ~ N(loc, scale^2)``, to 1e-14 in float64; differentiable.

    The trapezoidal rule, whose error falls exponentially for analytic functions: over the noise where the scale is at
    most 2; for wider ones over t in ``E Phi((loc - t) / scale)``, t logistic, which is the same mean and smooth in t.

    Example:
        >>> mean_sigmoid(torch.tensor(0.0), torch.tensor(3.0))
        tensor(0.5000)
    """
    loc, scale = torch.broadcast_tensors(loc.unsqueeze(-1), scale.unsqueeze(-1))
    narrow = scale <= _NARROW
    noise, noise_weights = _noise_rule(loc)
    point, point_weights = _logistic_rule(loc)
    over_noise = (torch.sigmoid(loc + scale.clamp(max=_NARROW) * noise) * noise_weights).sum(-1)
    over_logistic = (torch.special.ndtr((loc - point) / scale.clamp(min=_NARROW)) * point_weights).sum(-1)
    return torch.where(narrow.squeeze(-1), over_noise, over_logistic)


def uniform_mean_sticks_loc(categories: int, scale: float = 1.0) -> Tensor:
    """Locations of K - 1 Gaussian sticks of one scale whose K pieces all have the mean ``1/K``.

    They solve ``E sigmoid(N(loc_k, scale^2)) = 1 / (K + 1 - k)``; the last is 0.

    Args:
        categories: K, at least 2.
        scale: standard deviation of every stick, > 0.

    Returns:
        Locations, shape ``(K-1,)``, float64.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> loc = uniform_mean_sticks_loc(5)
        >>> mean_sticks(loc, torch.ones_like(loc)).float()
        tensor([0.2000, 0.2000, 0.2000, 0.2000, 0.2000])
    """
    if categories < 2 or not scale > 0:
        raise ValueError(f"expected categories >= 2 and scale > 0, got {categories} and {scale}")
    target = 1 / torch.arange(categories, 1, -1, dtype=torch.float64)
    return _solve_mean_sigmoid(target, torch.full_like(target, scale))


def _solve_mean_sigmoid(target: Tensor, scale: Tensor) -> Tensor:
    """The locations at which :func:`mean_sigmoid` is ``target``, at most 1/2: Newton in the logit, nearly linear."""
    logit = target.logit()
    loc = logit * (1 + math.pi / 8 * scale.square()).sqrt()  # from the probit approximation
    for _ in range(_NEWTON_STEPS):
        with torch.enable_grad():
            loc = loc.detach().requires_grad_()
            value = mean_sigmoid(loc, scale).logit()
            (slope,) = torch.autograd.grad(value.sum(), loc)
        loc = (loc - (value - logit) / slope).detach()
    return loc


def _noise_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    nodes = _nodes(*_NOISE, like)
    weights = torch.exp(-0.5 * nodes.square())
    return nodes, weights / weights.sum()


def _logistic_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    nodes = _nodes(*_LOGISTIC, like)
    weights = torch.sigmoid(nodes) * torch.sigmoid(-nodes)
    return nodes, weights / weights.sum()


def _nodes(half_width: float, step: float, like: Tensor) -> Tensor:
    count = round(half_width / step)
    return step * torch.arange(-count, count + 1, dtype=like.dtype, device=like.device)
