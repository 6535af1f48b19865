"""Noise from its law given the category: what a control variate needs that is to share the category of a sample."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from logprob.simplex.category_mesh import Panels, panels_of, rule_for, start_of, unit_nodes
from logprob.simplex.category_quadrature import log_integrand
from logprob.simplex.settings import computing_dtype

_NODES_AT_ONCE = 1 << 22
_HALVINGS = 50
_EXACT = 1e-12


def gaussian_noise_given(loc: Tensor, scale: Tensor, threshold: Tensor, category: Tensor) -> Tensor:
    """Standard normal noise given which of ``loc + scale * noise`` and the threshold is the largest.

    Given that coordinate b wins, its value t has the density ``N(t; loc_b, scale_b) prod_{j != b} Phi((t - loc_j) /
    scale_j)`` above the threshold, which is inverted numerically (to 1e-9, by the quadrature of the category
    probabilities); given t the others are normal, truncated to lie below it. If the threshold wins, all are truncated
    to lie below the threshold. The uniform numbers being held, the result is differentiable with respect to loc, scale
    and threshold; a second derivative with respect to them raises. All is done in float64. A category less probable
    than about 1e-15, which is never drawn, gets noise that has the category but only roughly the law.

    Args:
        loc: ``(..., K - 1)``.
        scale: positive, ``(..., K - 1)``.
        threshold: ``(...)``.
        category: one-hot, ``(..., K)``; dimensions in front of the others' are sample dimensions.

    Returns:
        Noise ``(..., K - 1)``, of the type of ``loc`` but at least float32.

    Example:
        >>> import torch
        >>> category = torch.eye(3)
        >>> noise = gaussian_noise_given(torch.zeros(2), torch.ones(2), torch.tensor(0.0), category)
        >>> scores = torch.cat([noise, torch.zeros(3, 1)], -1)
        >>> scores.argmax(-1)
        tensor([0, 1, 2])
    """
    winner, n = category.argmax(-1), loc.shape[-1]
    loc64, scale64 = (x.double().expand(*winner.shape, n) for x in (loc, scale))
    level = threshold.double().expand(winner.shape)
    index = winner.clamp(max=n - 1)
    top = _largest(loc64, scale64, level, index)
    wins = winner < n
    ceiling = torch.where(wins, top, level).unsqueeze(-1)
    u = torch.rand_like(loc64).clamp(min=2.0**-54)
    below = ndtri_exp(u.log() + torch.special.log_ndtr((ceiling - loc64) / scale64))
    own = (torch.arange(n, device=loc.device) == index.unsqueeze(-1)) & wins.unsqueeze(-1)
    return torch.where(own, (ceiling - loc64) / scale64, below).to(computing_dtype(loc.dtype))


def ndtri_exp(log_p: Tensor) -> Tensor:
    """The x with ``log Phi(x) = log_p``; its gradient is that of the implicit function.

    Example:
        >>> import torch
        >>> x = torch.tensor([-100.0, -1.0, 5.0], dtype=torch.float64)
        >>> (ndtri_exp(torch.special.log_ndtr(x)) - x).abs().max() < 1e-9
        tensor(True)
    """
    x: Tensor = _NdtriExp.apply(log_p)
    return x


class _NdtriExp(torch.autograd.Function):
    """The inverse of ``log Phi``."""

    @staticmethod
    def forward(ctx: Any, log_p: Tensor) -> Tensor:
        log_p = log_p.clamp(max=-(2.0**-53))  # 1 is at infinity
        far = log_p.clamp(max=-30.0)
        x = -(-2 * far - math.log(2 * math.pi) - (-2 * far).log()).sqrt()
        for _ in range(4):  # Newton: log Phi is concave, and nearly quadratic there
            x = x - (torch.special.log_ndtr(x) - far) / _hazard(x)
        x = torch.where(log_p < -30, x, torch.special.ndtri(log_p.exp()))
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad / _hazard(x)


def _hazard(x: Tensor) -> Tensor:
    """``phi(x) / Phi(x)``."""
    return (-0.5 * x * x - 0.5 * math.log(2 * math.pi) - torch.special.log_ndtr(x)).exp()


def _largest(loc: Tensor, scale: Tensor, level: Tensor, index: Tensor) -> Tensor:
    """Values of the largest coordinate, given that it is ``index`` and above the level; of the shape of ``level``."""
    n, shape = loc.shape[-1], level.shape
    columns = (loc.reshape(-1, n).T, scale.reshape(-1, n).T, level.reshape(-1), index.reshape(-1))
    size = max(1, _NODES_AT_ONCE // (200 * n))
    u = torch.rand_like(columns[2])
    parts = [
        _LargestGiven.apply(*(x[..., i : i + size] for x in (*columns, u))) for i in range(0, max(u.shape[0], 1), size)
    ]
    return torch.cat(parts).reshape(shape)


class _LargestGiven(torch.autograd.Function):
    """``(loc (n, V), scale (n, V), level (V), index (V), u (V)) -> t (V)``."""

    @staticmethod
    def forward(ctx: Any, loc: Tensor, scale: Tensor, level: Tensor, index: Tensor, u: Tensor) -> Tensor:
        solution = _solve(loc, scale, level, index, u)
        ctx.save_for_backward(loc, scale, level, *solution[1:])
        return solution.value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Differentiable in grad, not once_differentiable, which would drop what grad depends on: a control variate
        # differentiates the norm of its gradient.
        *parameters, to_loc, to_scale, to_level = ctx.saved_tensors
        slopes = (_Once.apply(slope, *parameters) for slope in (to_loc, to_scale, to_level))
        return *(grad * slope for slope in slopes), None, None


class _Once(torch.autograd.Function):
    """The first argument, with an error in place of its derivatives with respect to the others."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, *parameters: Tensor) -> Tensor:
        return slope.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        raise NotImplementedError("noise given a category is differentiable once with respect to the parameters")


class _Solution(NamedTuple):
    """t and its derivatives with respect to loc, scale and level."""

    value: Tensor  # (V,)
    loc: Tensor  # (n, V)
    scale: Tensor  # (n, V)
    level: Tensor  # (V,)


class _Density(NamedTuple):
    """The unnormalised density of t on panels of a quadrature rule, and the derivatives of its logarithm."""

    mass: Tensor  # (m, P), weight times density
    loc: Tensor  # (m, n, P)
    scale: Tensor  # (m, n, P)

    def integrals(self) -> list[Tensor]:
        """Of each panel: of the density, and of its derivatives with respect to loc and scale."""
        wide = self.mass.unsqueeze(1)
        return [self.mass.sum(0), (wide * self.loc).sum(0), (wide * self.scale).sum(0)]


class _Winner:
    """The law of t, counted from the start of its panels, divided by its largest value at a node.

    Its density is that of the winner times the distribution functions of the others.
    """

    def __init__(self, loc: Tensor, scale: Tensor, level: Tensor, index: Tensor) -> None:
        self.rule = rule_for(len(loc), _EXACT, torch.float64)
        self.start = start_of(loc, scale, level, self.rule.reach)
        self.loc, self.scale, self.index = loc - self.start, scale, index
        panels = panels_of(self.loc, scale, self.rule)
        self.panels = Panels(*(field[panels.variable.argsort(stable=True)] for field in panels))
        largest = self._own(log_integrand(self.loc, scale, self.panels, self.rule)[2], self.panels).amax(0)
        top = largest.new_full(level.shape, -torch.inf)
        self.top = top.scatter_reduce(0, self.panels.variable, largest, "amax")

    def _own(self, x: Tensor, panels: Panels) -> Tensor:
        """The row of each variable's winner, ``(m, P)`` from ``(m, n, P)``."""
        return x.gather(1, self.index[panels.variable].expand(len(x), 1, -1)).squeeze(1)

    def on(self, panels: Panels) -> _Density:
        """The density on panels, with its derivatives."""
        z, log_hazard, log_mass = log_integrand(self.loc, self.scale, panels, self.rule)
        mass = (self._own(log_mass, panels) - self.top[panels.variable]).exp()
        wins = torch.arange(len(self.loc), device=z.device).unsqueeze(-1) == self.index[panels.variable]
        own, hazard = self.scale[:, panels.variable], log_hazard.exp()
        to_loc = torch.where(wins, z / own, -hazard)
        return _Density(mass, to_loc, torch.where(wins, (z * z - 1) / own, -hazard * z))

    def at(self, x: Tensor) -> Tensor:
        """The density at one point of each variable."""
        z = (x - self.loc) / self.scale
        row = self.index.unsqueeze(0)
        log_cdf = torch.special.log_ndtr(z)
        others = log_cdf.sum(0) - log_cdf.gather(0, row).squeeze(0)
        own, spread = (y.gather(0, row).squeeze(0) for y in (z, self.scale))
        return (others - 0.5 * own * own - spread.log() - 0.5 * math.log(2 * math.pi) - self.top).exp()

    def sums(self, x: Tensor) -> Tensor:
        """Sums over the panels of each variable, along the last dimension."""
        return x.new_zeros(*x.shape[:-1], len(self.top)).index_add(-1, self.panels.variable, x)


def _solve(loc: Tensor, scale: Tensor, level: Tensor, index: Tensor, u: Tensor) -> _Solution:
    """Invert the distribution function, and differentiate ``F(t; parameters) = u``."""
    law = _Winner(loc, scale, level, index)
    if not len(law.panels.left):  # nothing but NaN
        return _Solution(level + torch.nan, loc + torch.nan, loc + torch.nan, level + torch.nan)
    panels, density = law.panels, law.on(law.panels)
    full = density.integrals()
    total = [law.sums(x) for x in full]
    panel, rest = _find_panel(full[0], panels.variable, total[0], u)
    place = panels.width[panel] * _invert_in_panel(density.mass[:, panel], rest)

    each = torch.arange(len(u), device=u.device)
    partial = law.on(Panels(panels.left[panel], place, each)).integrals()
    earlier = torch.arange(len(panels.left), device=u.device) < panel[panels.variable]
    reached, at_loc, at_scale = (law.sums(x * earlier) + y for x, y in zip(full, partial, strict=True))
    share, here = reached / total[0], law.at(panels.left[panel] + place)
    # A start above the level does not move with it.
    bottom = torch.where(level >= law.start, law.at(level - law.start), 0.0)
    value = law.start + panels.left[panel] + place + 0 * (loc.sum(0) + scale.sum(0) + level)  # NaN stays NaN
    to_loc, to_scale = (share * total[1] - at_loc) / here, (share * total[2] - at_scale) / here
    return _Solution(value, to_loc, to_scale, (1 - share) * bottom / here)


def _find_panel(mass: Tensor, variable: Tensor, total: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """The panel in which the mass of each variable reaches the share u, and the mass that is wanted of that panel."""
    cumulative = mass.cumsum(0)
    target = total.cumsum(0) - total + u * total
    each = torch.arange(len(u), device=u.device)
    first, end = (torch.searchsorted(variable, each, right=right) for right in (False, True))
    panel = torch.searchsorted(cumulative, target)
    panel = torch.minimum(torch.maximum(panel, first), end - 1)
    return panel, target - (cumulative - mass)[panel]


def _invert_in_panel(mass: Tensor, target: Tensor) -> Tensor:
    """The fraction of a panel, in (0, 1), up to which the interpolated density integrates to the target.

    Args:
        mass: weight times density at the nodes, ``(m, V)``.
        target: ``(V,)``.
    """
    coefficients = torch.tensor(_antiderivative(len(mass)), dtype=mass.dtype, device=mass.device) @ mass  # (m + 1, V)
    low, high = torch.zeros_like(target), torch.ones_like(target)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = _legendre(coefficients, 2 * middle - 1) < target
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (low + high) / 2


def _legendre(coefficients: Tensor, x: Tensor) -> Tensor:
    """A Legendre series, by Clenshaw's recurrence."""
    ahead, next_ahead = torch.zeros_like(x), torch.zeros_like(x)
    for k in range(len(coefficients) - 1, 0, -1):
        ahead, next_ahead = coefficients[k] + (2 * k + 1) / (k + 1) * x * ahead - (k + 1) / (k + 2) * next_ahead, ahead
    return coefficients[0] + x * ahead - 0.5 * next_ahead


@cache
def _antiderivative(order: int) -> list[list[float]]:
    """Matrix from masses at the nodes to the Legendre coefficients, on (-1, 1), of their integral from the left end."""
    nodes = np.asarray(unit_nodes(order)[0])
    basis = np.polynomial.legendre.legvander(2 * nodes - 1, order - 1)  # (m, m)
    series = basis.T * (2 * np.arange(order) + 1)[:, None]  # of f, from weight times f
    integrals = [np.polynomial.legendre.legint(row, lbnd=-1) / 2 for row in np.eye(order)]
    table = np.zeros((order, order + 1))
    for k, row in enumerate(integrals):
        table[k, : len(row)] = row
    matrix: list[list[float]] = (table.T @ series).tolist()
    return matrix
