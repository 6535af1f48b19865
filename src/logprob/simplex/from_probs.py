"""Locations of an invertible Gaussian whose category has a given law."""

from __future__ import annotations

import torch
from torch import Tensor

from logprob.simplex.category_derivatives import log_jacobian
from logprob.simplex.category_mesh import rule_for
from logprob.simplex.category_probs import EXACT, category_log_probs
from logprob.simplex.category_quadrature import Gaussians, integrate
from logprob.simplex.settings import check_floating

SMALLEST = 1e-12  # a probability of 0 is at infinity
STEPS = 200
REACHED = 1e-9


def uniform_loc(categories: int, scale: Tensor | float = 1.0, threshold: Tensor | float = 0.0) -> Tensor:
    """The location, common to all K - 1 Gaussians, at which every category has probability 1 / K.

    ``loc = threshold - scale * Phi^{-1}(K^{-1/(K-1)})``, exact: the last category by the product of K - 1 equal
    factors, the others by symmetry.

    Args:
        categories: K, at least 2.
        scale: the common scale, > 0, of any shape.
        threshold: ``temperature * log(delta)``, broadcast with ``scale``.

    Returns:
        The broadcast shape of ``scale`` and ``threshold``; repeat it K - 1 times.

    Raises:
        ValueError: if there are fewer than 2 categories, or if a scale is not positive.

    Example:
        >>> uniform_loc(10)
        tensor(-0.7530)
    """
    if categories < 2:
        raise ValueError(f"expected at least 2 categories, got {categories}")
    scale, threshold = torch.as_tensor(scale), torch.as_tensor(threshold)
    if not torch.compiler.is_compiling() and (scale <= 0).any():
        raise ValueError(f"expected scale > 0, got {scale.min().item()}")
    loc = threshold.double() - scale.double() * _quantile(categories)
    return loc.to(torch.promote_types(scale.dtype, threshold.dtype))


def solve_loc(probs: Tensor, scale: Tensor | float = 1.0, threshold: Tensor | float = 0.0) -> Tensor:
    """Locations at which the category has the law ``probs``, by Newton's method.

    The probabilities are the gradient of the convex function ``W(loc) = E max(c, max_k y_k)``, so ``loc`` minimises
    ``W(loc) - loc . probs``; it is unique if no probability is 0. Steps start from the uniform law and are at most 1.5
    scales in each coordinate, until the total variation is 1e-9: 5 to 20 of them. All is done in float64.

    A probability below 1e-12 is taken to be 1e-12, as 0 lies at infinity, and the vector is normalised. Gradients with
    respect to ``probs``, ``scale`` and ``threshold`` are those of the implicit function.

    Args:
        probs: shape ``(..., K)``, >= 0, of sum 1.
        scale: of the Gaussians, > 0; a number or shape ``(..., K - 1)``.
        threshold: ``c = temperature * log(delta)``, a number or of the batch shape.

    Returns:
        Shape ``(..., K - 1)``, of the type of ``probs``.

    Raises:
        ValueError: if ``probs`` is not a law over at least two categories; if a scale is not positive; if 200 steps are
            not enough.

    Example:
        >>> import torch
        >>> from logprob.simplex.category_probs import category_log_probs
        >>> loc = solve_loc(torch.tensor([0.7, 0.2, 0.1]))
        >>> category_log_probs(loc, torch.ones(2)).exp()
        tensor([0.7000, 0.2000, 0.1000])
    """
    _check(probs)
    probs, scale, threshold = _broadcast(probs, scale, threshold)
    target = probs.double().clamp(min=SMALLEST)
    target = target / target.sum(-1, keepdim=True)
    batch, n = target.shape[:-1], target.shape[-1] - 1
    sigma, level = scale.double(), threshold.double()
    with torch.no_grad():
        loc = _newton(target.reshape(-1, n + 1).T, sigma.reshape(-1, n).T, level.reshape(-1)).T.reshape(*batch, n)
    if torch.is_grad_enabled() and (target.requires_grad or sigma.requires_grad or level.requires_grad):
        loc = _implicit(loc, target, sigma, level)
    return loc.to(probs.dtype)


def _broadcast(probs: Tensor, scale: Tensor | float, threshold: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """All three with one batch shape; scales for each Gaussian."""
    n = probs.shape[-1] - 1
    sigma, level = (torch.as_tensor(x, device=probs.device) for x in (scale, threshold))
    sigma = sigma.expand(*sigma.shape[:-1], n)
    batch = torch.broadcast_shapes(probs.shape[:-1], sigma.shape[:-1], level.shape)
    return probs.expand(*batch, -1), sigma.expand(*batch, n), level.expand(batch)


def _check(probs: Tensor) -> None:
    check_floating("probs", probs)
    if probs.dim() == 0 or probs.shape[-1] < 2:
        raise ValueError(f"expected probs of shape (..., K) with K >= 2, got {tuple(probs.shape)}")
    if not ((probs >= 0).all() and ((probs.double().sum(-1) - 1).abs() < 1e-4).all()):
        sums = probs.detach().sum(-1).flatten()
        raise ValueError(
            f"expected probs >= 0 of sum 1, got a minimum of {probs.min()} and sums of {sums[:4].tolist()}"
        )


def _newton(target: Tensor, scale: Tensor, threshold: Tensor) -> Tensor:
    """Locations ``(n, V)`` for targets ``(n + 1, V)``."""
    n, variables = scale.shape
    loc = threshold - scale * _quantile(n + 1)
    active = torch.arange(variables, device=scale.device)
    for _ in range(STEPS):
        gaussians = Gaussians(loc, scale, threshold).of(active)
        integral = integrate(gaussians, rule_for(n, EXACT, scale.dtype), keep=True)
        probs, wanted = integral.log_probs.exp(), target[:, active]
        far = (probs - wanted).abs().sum(0) / 2 > REACHED
        if not far.any():
            return loc
        # Rows divided by their probability: those of 1e-12 would be lost in the solution otherwise.
        step = torch.linalg.solve(log_jacobian(gaussians, integral), (wanted[:-1] / probs[:-1] - 1).T).T
        limit = 1.5 * gaussians.scale
        loc[:, active] += torch.where(far, torch.minimum(torch.maximum(step, -limit), limit), 0.0)
        active = active[far]
    raise ValueError(f"expected probs that {STEPS} Newton steps reach, got {target[:, active[0]].tolist()}")


def _implicit(loc: Tensor, target: Tensor, scale: Tensor, threshold: Tensor) -> Tensor:
    """One more Newton step: nothing in value, the implicit function's gradient."""
    n = loc.shape[-1]
    gaussians = Gaussians(loc.reshape(-1, n).T, scale.detach().reshape(-1, n).T, threshold.detach().reshape(-1))
    slope = log_jacobian(gaussians, integrate(gaussians, rule_for(n, EXACT, scale.dtype), keep=True))
    probs = category_log_probs(loc, scale, threshold)[..., :-1].exp()
    residual = (target[..., :-1] - probs) / probs.detach()
    return loc + torch.linalg.solve(slope.reshape(*loc.shape, n), residual.unsqueeze(-1)).squeeze(-1)


def _quantile(categories: int) -> Tensor:
    """``Phi^{-1}(K^{-1/(K-1)})``."""
    return torch.special.ndtri(torch.tensor(float(categories) ** (-1 / (categories - 1)), dtype=torch.float64))
