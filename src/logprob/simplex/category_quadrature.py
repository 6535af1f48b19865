"""The law of the largest of several Gaussians and a constant, by one quadrature for all categories.

``P(k) = integral_c^inf h_k(t) G(t) dt`` and ``P(K) = G(c)``, where ``G = prod_j Phi_j`` is the distribution function of
the largest Gaussian and ``h_k = phi_k / (s_k Phi_k)`` a hazard. Variables are the last axis: it is the long one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from logprob.simplex.category_mesh import Panels, Rule, panels_of, start_of, unit_nodes

CHUNK = 1 << 17  # numbers evaluated at once: about what the cache of a processor holds


class Gaussians(NamedTuple):
    """For each of V variables, n Gaussians and a threshold: ``(n, V)``, ``(n, V)``, ``(V,)``, float64."""

    loc: Tensor
    scale: Tensor
    threshold: Tensor

    def of(self, variables: Tensor | slice) -> Gaussians:
        """Those of some variables."""
        return Gaussians(*(x[..., variables] for x in self))

    @property
    def shape(self) -> torch.Size:
        """``(n, V)``."""
        return self.loc.shape


class Piece(NamedTuple):
    """The integrand on some panels; ``(m, n, P)`` at the nodes, ``(n, P)`` for a panel.

    The mass of category k at a node is ``exp(top) * mass``. ``hazard`` is its logarithm where no derivatives are
    wanted.
    """

    z: Tensor
    hazard: Tensor
    mass: Tensor
    top: Tensor
    variable: Tensor


class Integral(NamedTuple):
    """Log-probabilities ``(n + 1, V)``, where each integral begins ``(V,)``, and what it was summed from."""

    log_probs: Tensor
    start: Tensor
    pieces: list[Piece]


def integrate(gaussians: Gaussians, rule: Rule, keep: bool) -> Integral:
    """Integrate, and again by a finer rule where probabilities do not sum to 1.

    Args:
        gaussians: and thresholds.
        rule: of quadrature.
        keep: whether to keep the pieces, for derivatives.

    Raises:
        ValueError: if a scale is not positive, or if the sum is off by more than 1e-8 with the finer rule, too.
    """
    if (gaussians.scale <= 0).any():
        raise ValueError(f"expected scale > 0, got {gaussians.scale.min().item()}")
    integral = _integrate(gaussians, rule, keep)
    wrong = torch.nonzero(_deviation(integral) > rule.alarm).squeeze(-1)
    if not len(wrong):
        return integral
    again = _integrate(gaussians.of(wrong), rule.finer(), keep)
    off = _deviation(again)
    if (off > rule.finer().alarm).any():
        scale = gaussians.scale[:, wrong[off.argmax()]]
        raise ValueError(
            f"expected scales for which the quadrature converges, got {scale.tolist()}: "
            f"the probabilities sum to 1 only within {off.max().item():.1e}"
        )
    return _replace(integral, wrong, again)


def _integrate(gaussians: Gaussians, rule: Rule, keep: bool) -> Integral:
    loc, scale, threshold = gaussians
    start = start_of(loc, scale, threshold, rule.reach)
    panels = panels_of(loc - start, scale, rule)
    pieces, tops, totals = [], [loc[:, :0]], [loc[:, :0]]
    for part in _chunks(panels, len(loc), rule):
        piece = evaluate(loc - start, scale, part, rule, keep)
        tops.append(piece.top)
        totals.append(piece.mass.sum(0).double())
        if keep:
            pieces.append(piece)
    inside = log_sum(torch.cat(tops, -1) + torch.cat(totals, -1).log(), panels.variable, loc.shape[-1])
    log_probs = torch.cat([inside, log_ndtr((threshold - loc) / scale).sum(0, keepdim=True)])
    missing = 0 * (loc.sum(0) + scale.sum(0) + threshold)  # not finite: no panels, but no probabilities either
    return Integral(log_probs + missing, start, pieces)


def _deviation(integral: Integral) -> Tensor:
    return (integral.log_probs.exp().sum(0) - 1).abs()


def _replace(integral: Integral, wrong: Tensor, again: Integral) -> Integral:
    """Take some variables from another integral: their panels lose their mass in the first."""
    log_probs = integral.log_probs.index_copy(1, wrong, again.log_probs)
    start = integral.start.index_copy(0, wrong, again.start)
    void = torch.zeros_like(start).index_fill(0, wrong, -torch.inf)
    old = [piece._replace(top=piece.top + void[piece.variable]) for piece in integral.pieces]
    new = [piece._replace(variable=wrong[piece.variable]) for piece in again.pieces]
    return Integral(log_probs, start, old + new)


def _chunks(panels: Panels, gaussians: int, rule: Rule) -> Iterator[Panels]:
    size = max(1, CHUNK // (gaussians * rule.order))
    for i in range(0, len(panels.left), size):
        yield Panels(*(field[i : i + size] for field in panels))


def evaluate(loc: Tensor, scale: Tensor, panels: Panels, rule: Rule, derivatives: bool) -> Piece:
    """The integrand at the nodes of panels.

    ``loc`` and the panels count from the start of the integral, so that float32 is enough for a coarse rule.
    """
    z, log_hazard, log_mass = log_integrand(loc, scale, panels, rule)
    top = log_mass.amax(0)
    hazard = log_hazard.exp_() if derivatives else log_hazard
    return Piece(z, hazard, log_mass.sub_(top).exp_(), top.double(), panels.variable)


def log_integrand(loc: Tensor, scale: Tensor, panels: Panels, rule: Rule) -> tuple[Tensor, Tensor, Tensor]:
    """``z_k``, ``log h_k`` and ``log(w h_k G)`` at the nodes, ``(m, n, P)``; differentiable by autograd."""
    x, weights = (torch.tensor(u, dtype=rule.dtype, device=loc.device)[:, None, None] for u in unit_nodes(rule.order))
    mu, sigma = (u.index_select(1, panels.variable) for u in (loc, scale))  # (n, P)
    first, step = ((u / sigma).to(rule.dtype) for u in (panels.left - mu, panels.width))
    constant = (sigma.log() + math.log(2 * math.pi) / 2).to(rule.dtype)
    z = torch.addcmul(first, step, x)
    log_cdf = log_ndtr_by_erfc(z)  # z > -reach at the nodes
    log_hazard = torch.addcmul(-log_cdf - constant, z, z, value=-0.5)
    log_weight = weights.log() + panels.width.log().to(rule.dtype)
    return z, log_hazard, log_hazard + (log_cdf.sum(1, keepdim=True) + log_weight)


def log_ndtr(z: Tensor) -> Tensor:
    """``log Phi(z)``, to rounding; three times as fast as the function of torch where all ``z > -30``."""
    deep = z < -30  # erfc underflows at -38
    return torch.where(deep, torch.special.log_ndtr(z), log_ndtr_by_erfc(z)) if deep.any() else log_ndtr_by_erfc(z)


def log_ndtr_by_erfc(z: Tensor) -> Tensor:
    """``log Phi(z)`` for ``z > -30``, or ``z > -12`` in float32."""
    return torch.erfc(z * -math.sqrt(0.5)).mul(0.5).log()


def log_sum(terms: Tensor, index: Tensor, variables: int) -> Tensor:
    """Logsumexp of ``(n, P)`` over the panels of each variable, ``(n, V)``."""
    shape, wide = (len(terms), variables), index.expand_as(terms)
    top = terms.new_full(shape, -torch.inf).scatter_reduce(1, wide, terms.detach(), "amax")
    top = top.clamp(min=-1e300)  # a variable without panels: log 0, not NaN
    total = terms.new_zeros(shape).index_add(1, index, (terms - top.index_select(1, index)).exp())
    return top + total.log()
