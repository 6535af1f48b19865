"""The densities on the plane, by name: how to draw from each, and its exact log-density.

The six of the squared-circuit experiments (ring, mring, banana, funnel, cosine, spiral) are written here and keep
the published legacy ``RandomState`` streams, so that the published rows come back bit for bit; the others, the
usual test laws of the flow literature, are in :mod:`logprob.data.planar_toys`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from logprob.data.planar_law import LOG_2PI, PlanarLaw, Points, log_normal, normals, unit_quadrature
from logprob.data.planar_toys import TOYS


def _noisy_circles(radii: tuple[float, ...], noise: float) -> PlanarLaw:
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
            math.log(weight) + log_normal(sign * radius, centre, noise)
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
    return log_normal(x0, 0.0, 2.0) + log_normal(x1, 0.2 * (x0.square() - 4), 1.0)


def _sample_funnel(rng: RandomState, rows: int) -> Points:
    e = rng.randn(rows, 2)
    x0 = 2 * e[:, 0]
    return np.stack([x0, e[:, 1] * np.sqrt(np.minimum(np.exp(-x0), 5))], axis=1)


def _funnel(x: Tensor) -> Tensor:
    x0, x1 = x.double().unbind(-1)
    scale = (0.5 * (-x0).clamp(max=math.log(5))).exp()  # the variance is cut at 5, as published
    return log_normal(x0, 0.0, 2.0) + log_normal(x1, 0.0, scale)


def _sample_cosine(rng: RandomState, rows: int) -> Points:
    x0 = rng.uniform(-4, 4, rows)
    e = rng.randn(rows, 2)[:, 1]  # the published stream draws two columns and uses the second
    return np.stack([x0, 3 * np.cos(2 * x0) + e], axis=1)


def _cosine(x: Tensor) -> Tensor:
    x0, x1 = x.double().unbind(-1)
    inside = log_normal(x1, 3 * torch.cos(2 * x0), 1.0) - math.log(8)
    return torch.where(x0.abs() <= 4, inside, -math.inf)


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
    u, weights = unit_quadrature(panels=20)
    angle = math.pi * u + torch.from_numpy(SPIRAL_ARMS)[:, None]  # (3, K)
    locs = 1.5 * math.pi * u[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)  # (3, K, 2)
    log_weights = (weights / 3).log().repeat(3)
    return normals(locs.reshape(-1, 2), (0.5 * u + 0.1).repeat(3), log_weights)(x)


LAWS: Mapping[str, PlanarLaw] = MappingProxyType(
    {
        "ring": _noisy_circles((1.0,), noise=0.26),
        "mring": _noisy_circles((1.0, 3.0, 5.0), noise=0.2),
        "banana": PlanarLaw(_sample_banana, _banana),
        "funnel": PlanarLaw(_sample_funnel, _funnel, rotated=True),
        "cosine": PlanarLaw(_sample_cosine, _cosine, rotated=True),
        "spiral": PlanarLaw(_sample_spiral, _spiral),
        **TOYS,
    }
)
