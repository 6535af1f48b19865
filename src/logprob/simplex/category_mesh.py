"""Where to put the nodes that integrate over the largest of several Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

COARSE = 1e-6


@dataclass(frozen=True)
class Rule:
    """A composite Gauss-Legendre rule, in units of the scales.

    Args:
        reach: standard deviations beyond which a Gaussian is taken to have no mass.
        width: longest panel, in units of the smallest scale that still matters there.
        order: nodes a panel.
        alarm: deviation of the sum of all probabilities from 1 above which the result is not trusted.
        dtype: in which the integrand is evaluated.
    """

    reach: float
    width: float
    order: int
    alarm: float
    dtype: torch.dtype = torch.float64

    def finer(self) -> Rule:
        """Half as wide panels, of full reach and precision."""
        return Rule(8.3, min(self.width, 4.0) / 2, 20, alarm=1e-8)


def rule_for(gaussians: int, tolerance: float, dtype: torch.dtype) -> Rule:
    """The cheapest rule of which the absolute error of a probability stays below ``tolerance``.

    Largest errors seen over random laws, with ``loc`` from all equal to N(0, 4), scales from all equal to
    ``exp(N(0, .5))`` and thresholds from -6 to 1: below 1e-13 up to 9 Gaussians and 1e-12 up to 500; coarse 6e-7, most
    of it the reach. A product of more distribution functions is steeper, hence narrower panels.
    """
    shrink = min(1.0, (10 / gaussians) ** 0.25)
    if tolerance < COARSE:
        return Rule(8.3, 4 * shrink, 20, alarm=1e-10)
    dtype = torch.float64 if dtype == torch.float64 else torch.float32
    return Rule(5.0, 7.2 * shrink, 20, alarm=5e-7 * max(10, gaussians), dtype=dtype)


class Panels(NamedTuple):
    """Intervals of all variables in one list, each ``(P,)``; ``left`` counts from the variable's start."""

    left: Tensor
    width: Tensor
    variable: Tensor


def start_of(loc: Tensor, scale: Tensor, threshold: Tensor, reach: float) -> Tensor:
    """The threshold, or the point below which the largest variable has no mass if that is higher; ``(V,)``.

    Args:
        loc: ``(n, V)``.
        scale: ``(n, V)``.
        threshold: ``(V,)``.
        reach: in standard deviations.
    """
    return torch.maximum(threshold, (loc - reach * scale).amax(0))


def panels_of(loc: Tensor, scale: Tensor, rule: Rule) -> Panels:
    """March from 0 to where the last Gaussian ends, in steps of the smallest scale that has not ended.

    All of them have begun at 0, so steps only grow.

    Args:
        loc: distances from the start, ``(n, V)``.
        scale: ``(n, V)``.
        rule: reach and width of a panel.
    """
    ends = _ends(loc, scale, rule.reach)
    upper = ends.amax(0)
    variable = torch.nonzero(upper > 0).squeeze(-1)  # a NaN has no panels
    ends, scale, upper = ends[:, variable], scale[:, variable], upper[variable]
    left, found = torch.zeros_like(upper), []
    while len(variable):
        step = rule.width * torch.where(left < ends, scale, torch.inf).amin(0)
        step = torch.maximum(step, upper * 1e-12)  # scales below the spacing of numbers; the sum of P shows them
        width = (upper - left) / ((upper - left) / step).ceil()
        found.append(Panels(left, width, variable))
        more = torch.nonzero(upper - left > 1.5 * width).squeeze(-1)
        left = (left + width)[more]
        ends, scale, upper, variable = ends[:, more], scale[:, more], upper[more], variable[more]
    return Panels(*map(torch.cat, zip(*found, strict=True))) if found else Panels(left, left, variable)


def _ends(loc: Tensor, scale: Tensor, reach: float) -> Tensor:
    """Where each density is ``exp(-reach^2 / 2)`` of its largest value above 0, without cancellation."""
    z = (-loc / scale).clamp(min=0)
    return loc.clamp(min=0) + scale * reach**2 / ((z.square() + reach**2).sqrt() + z)


@cache
def unit_nodes(order: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gauss-Legendre nodes and weights on (0, 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return tuple((nodes + 1) / 2), tuple(weights / 2)
