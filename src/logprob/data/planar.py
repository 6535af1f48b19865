"""Nine densities on the plane: how to draw from each, and its exact log-density.

The six of the squared-circuit experiments (ring, mring, banana, funnel, cosine, spiral) keep the published
legacy ``RandomState`` streams, so that the published rows come back bit for bit; moons, checkerboard and
eight_gaussians are the usual test laws of the flow literature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from torch import Tensor

Points = NDArray[np.float64]
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class PlanarLaw:
    """A density on the plane.

    Args:
        sample: ``(random state, N) -> (N, 2)`` float64; the order of its draws is part of its definition.
        log_density: ``(*batch, 2) -> (*batch,)`` in nats, float64 whatever the input's type.
        rotated: True if the published rows are turned by 45 degrees about their mean afterwards.

    Example:
        >>> LAWS["eight_gaussians"].log_density(torch.zeros(1, 2))
        tensor([-31.7584], dtype=torch.float64)
    """

    sample: Callable[[RandomState, int], Points]
    log_density: Callable[[Tensor], Tensor]
    rotated: bool = False


def _log_normal(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
    scale = torch.as_tensor(scale, dtype=torch.float64)
    return -0.5 * ((x - loc) / scale).square() - scale.log() - 0.5 * LOG_2PI


def _rings(radii: tuple[float, ...], noise: float) -> PlanarLaw:
    """Circles about the origin, drawn with probability proportional to their radius, with normal radial
    noise.

    The noise may carry a radius below zero, to the opposite point. Hence both signs in the density
    ``p(x) = sum_k w_k [N(|x|; radius_k, noise) + N(-|x|; radius_k, noise)] / (2 pi |x|)``.
    """
    weights = np.array(radii) / sum(radii)

    def sample(rng: RandomState, rows: int) -> Points:
        angle = rng.uniform(0, 2 * np.pi, rows)
        error = rng.randn(rows)
        centre = rng.choice(radii, rows, p=weights) if len(radii) > 1 else radii[0]
        radius = centre + noise * error
        return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)

    def log_density(x: Tensor) -> Tensor:
        radius = torch.linalg.vector_norm(x.double(), dim=-1)
        terms = [
            math.log(weight) + _log_normal(sign * radius, centre, noise)
            for weight, centre in zip(weights, radii, strict=True)
            for sign in (1, -1)
        ]
        return torch.logsumexp(torch.stack(terms), dim=0) - LOG_2PI - radius.log()

    return PlanarLaw(sample, log_density)


def _sample_banana(rng: RandomState, rows: int) -> Points:
    e = rng.randn(rows, 2)
    x0 = 2 * e[:, 0]
    return np.stack([x0, e[:, 1] + 0.2 * (x0**2 - 4)], axis=1)


def _banana(x: Tensor) -> Tensor:
    x0, x1 = x.double().unbind(-1)
    return _log_normal(x0, 0.0, 2.0) + _log_normal(x1, 0.2 * (x0.square() - 4), 1.0)


def _sample_funnel(rng: RandomState, rows: int) -> Points:
    e = rng.randn(rows, 2)
    x0 = 2 * e[:, 0]
    return np.stack([x0, e[:, 1] * np.sqrt(np.minimum(np.exp(-x0), 5))], axis=1)


def _funnel(x: Tensor) -> Tensor:
    x0, x1 = x.double().unbind(-1)
    scale = (0.5 * (-x0).clamp(max=math.log(5))).exp()  # the variance is cut at 5, as published
    return _log_normal(x0, 0.0, 2.0) + _log_normal(x1, 0.0, scale)


def _sample_cosine(rng: RandomState, rows: int) -> Points:
    x0 = rng.uniform(-4, 4, rows)
    e = rng.randn(rows, 2)[:, 1]  # the published stream draws two columns and uses the second
    return np.stack([x0, 3 * np.cos(2 * x0) + e], axis=1)


def _cosine(x: Tensor) -> Tensor:
    x0, x1 = x.double().unbind(-1)
    inside = _log_normal(x1, 3 * torch.cos(2 * x0), 1.0) - math.log(8)
    return torch.where(x0.abs() <= 4, inside, -math.inf)


def _curve(locs: Tensor, scales: Tensor, log_weights: Tensor) -> Callable[[Tensor], Tensor]:
    """Log of ``sum_k exp(log_weights_k) N(x; locs_k, scales_k^2 I)``, rows in chunks."""
    constant, rate = log_weights - 2 * scales.log() - LOG_2PI, -0.5 / scales.square()
    locs0, locs1 = locs.unbind(-1)

    def chunk(x: Tensor) -> Tensor:
        squares = (x[:, :1] - locs0).square() + (x[:, 1:] - locs1).square()  # (n, K)
        return torch.logsumexp(constant + rate * squares, dim=-1)

    def log_density(x: Tensor) -> Tensor:
        rows = x.double().reshape(-1, 2)
        return torch.cat([chunk(part) for part in rows.split(256)]).reshape(x.shape[:-1])

    return log_density


def _unit_quadrature(panels: int, order: int = 16) -> tuple[Tensor, Tensor]:
    """Composite Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    left = np.arange(panels)[:, None]
    t = ((left + 0.5 * (nodes + 1)) / panels).ravel()
    return torch.from_numpy(t), torch.from_numpy(np.tile(0.5 * weights / panels, panels))


SPIRAL_ARMS = math.pi * np.array([0.0, 2 / 3, 4 / 3])


def _sample_spiral(rng: RandomState, rows: int) -> Points:
    arm = SPIRAL_ARMS[rng.randint(3, size=rows)]
    u = rng.uniform(0, 1, rows)
    e = rng.randn(rows, 2)
    angle, radius = np.pi * u + arm, 1.5 * np.pi * u
    centre = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return centre + (0.5 * u + 0.1)[:, None] * e


def _spiral(x: Tensor) -> Tensor:
    # against 128 panels, log p is off by less than 1e-10 anywhere within 9 of the origin, far tails included
    u, weights = _unit_quadrature(panels=20)
    angle = math.pi * u + torch.from_numpy(SPIRAL_ARMS)[:, None]  # (3, K)
    locs = 1.5 * math.pi * u[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)  # (3, K, 2)
    log_weights = (weights / 3).log().repeat(3)
    return _curve(locs.reshape(-1, 2), (0.5 * u + 0.1).repeat(3), log_weights)(x)


MOONS_NOISE = 0.1


def _sample_moons(rng: RandomState, rows: int) -> Points:
    lower = rng.randint(2, size=rows)[:, None] == 1
    t = rng.uniform(0, np.pi, rows)
    e = rng.randn(rows, 2)
    upper_arc = np.stack([np.cos(t), np.sin(t)], axis=1)
    return np.where(lower, [1.0, 0.5] - upper_arc, upper_arc) + MOONS_NOISE * e


def _moons(x: Tensor) -> Tensor:
    # against 128 panels, log p is off by less than 1e-11 anywhere within 2.8 of the origin
    u, weights = _unit_quadrature(panels=32)
    arc = torch.stack([(math.pi * u).cos(), (math.pi * u).sin()], dim=-1)
    locs = torch.cat([arc, torch.tensor([1.0, 0.5]) - arc])
    return _curve(locs, torch.full((len(locs),), MOONS_NOISE).double(), (weights / 2).log().repeat(2))(x)


def _sample_checkerboard(rng: RandomState, rows: int) -> Points:
    x0 = rng.uniform(-4, 4, rows)
    row = 2 * rng.randint(2, size=rows) + np.floor(x0 / 2) % 2  # squares of the colour of this column
    return np.stack([x0, 2 * row - 4 + rng.uniform(0, 2, rows)], axis=1)


def _checkerboard(x: Tensor) -> Tensor:
    square = (x.double() / 2).floor()
    dark = (square.sum(-1) % 2 == 0) & (square >= -2).all(-1) & (square < 2).all(-1)
    inside, outside = torch.tensor([-math.log(32), -math.inf], dtype=torch.float64)  # 8 squares of area 4
    return torch.where(dark, inside, outside)


EIGHT_RADIUS, EIGHT_NOISE = 4 / math.sqrt(2), 0.5 / math.sqrt(2)
_EIGHT_ANGLES = np.arange(8) * np.pi / 4
EIGHT_CENTRES = EIGHT_RADIUS * np.stack([np.cos(_EIGHT_ANGLES), np.sin(_EIGHT_ANGLES)], axis=1)


def _sample_eight_gaussians(rng: RandomState, rows: int) -> Points:
    centre = EIGHT_CENTRES[rng.randint(8, size=rows)]
    return centre + EIGHT_NOISE * rng.randn(rows, 2)


def _eight_gaussians(x: Tensor) -> Tensor:
    scales = torch.full((8,), EIGHT_NOISE, dtype=torch.float64)
    log_weights = torch.full((8,), -math.log(8), dtype=torch.float64)
    return _curve(torch.from_numpy(EIGHT_CENTRES), scales, log_weights)(x)


LAWS: Mapping[str, PlanarLaw] = MappingProxyType(
    {
        "ring": _rings((1.0,), noise=0.26),
        "mring": _rings((1.0, 3.0, 5.0), noise=0.2),
        "banana": PlanarLaw(_sample_banana, _banana),
        "funnel": PlanarLaw(_sample_funnel, _funnel, rotated=True),
        "cosine": PlanarLaw(_sample_cosine, _cosine, rotated=True),
        "spiral": PlanarLaw(_sample_spiral, _spiral),
        "moons": PlanarLaw(_sample_moons, _moons),
        "checkerboard": PlanarLaw(_sample_checkerboard, _checkerboard),
        "eight_gaussians": PlanarLaw(_sample_eight_gaussians, _eight_gaussians),
    }
)
