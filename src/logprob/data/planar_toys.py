"""The usual planar test laws of the flow literature, each with its exact log-density.

- moons: two half circles, radius 1, noise 0.1
- checkerboard: eight of the sixteen squares of side 2 in [-4, 4]^2, uniform
- eight_gaussians: on a circle of radius 4 / sqrt(2), deviation 0.5 / sqrt(2)
- gaussian: standard normal
- sine: ``x0 ~ U(-2, 2)``, ``x1 ~ N(sin 3 x0, 0.25^2)``
- trimodal: normals at (0, 0), (5, 5), (5, -5) with deviations 1, 0.5, 0.5; trimodal2: all 0.5
- smile: eyes, nose and a mouth of seven, half of the mass, as normals of deviation 0.5 (second axis downwards)
- two_spirals: :func:`_two_spirals`
- rings: circles of radii 0.75, 1.5, 2.25 and 3, equally likely, plus normal noise of deviation 0.08 in the plane
  (whereas "mring" has radial noise and unequal weights)

The definitions are those of the toy experiments of Grathwohl et al., "FFJORD", ICLR 2019, Gresele et al., "Relative
gradient optimization of the Jacobian term in unsupervised deep learning", NeurIPS 2020, and Keller et al., "Self
Normalizing Flows", ICML 2021 (there "8gaussians", "1gaussian", "2spirals"). Their streams of random numbers are not
reproduced. Where those scripts place points at even steps along a circle, or exactly half of them on each spiral,
points are drawn at random here, so that rows are independent and the density exact. The moons are blurred by 0.1, as
is usual elsewhere; the last of the three papers has 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from logprob.data.planar_law import LOG_2PI, PlanarLaw, Points, in_chunks, log_normal, normals, unit_quadrature

MOONS_NOISE = 0.1


def _sample_moons(rng: RandomState, rows: int) -> Points:
    lower = rng.randint(2, size=rows)[:, None] == 1
    t = rng.uniform(0, np.pi, rows)
    e = rng.randn(rows, 2)
    upper_arc = np.stack([np.cos(t), np.sin(t)], axis=1)
    return np.where(lower, [1.0, 0.5] - upper_arc, upper_arc) + MOONS_NOISE * e


def _moons(x: Tensor) -> Tensor:
    # against 128 panels, log p is off by less than 1e-11 anywhere within 2.8 of the origin
    u, weights = unit_quadrature(panels=32)
    arc = torch.stack([(math.pi * u).cos(), (math.pi * u).sin()], dim=-1)
    locs = torch.cat([arc, torch.tensor([1.0, 0.5]) - arc])
    return normals(locs, torch.full((len(locs),), MOONS_NOISE).double(), (weights / 2).log().repeat(2))(x)


def _sample_checkerboard(rng: RandomState, rows: int) -> Points:
    x0 = rng.uniform(-4, 4, rows)
    row = 2 * rng.randint(2, size=rows) + np.floor(x0 / 2) % 2  # squares of the colour of this column
    return np.stack([x0, 2 * row - 4 + rng.uniform(0, 2, rows)], axis=1)


def _checkerboard(x: Tensor) -> Tensor:
    square = (x.double() / 2).floor()
    dark = (square.sum(-1) % 2 == 0) & (square >= -2).all(-1) & (square < 2).all(-1)
    inside, outside = torch.tensor([-math.log(32), -math.inf], dtype=torch.float64)  # 8 squares of area 4
    return torch.where(dark, inside, outside)


def _gaussians(
    centres: Sequence[tuple[float, float]], scales: Sequence[float], weights: Sequence[float] | None = None
) -> PlanarLaw:
    """A mixture of round normals, equally likely if no weights are given."""
    count = len(centres)
    p = np.full(count, 1 / count) if weights is None else np.array(weights)
    locs, deviations = np.array(centres), np.array(scales)

    def sample(rng: RandomState, rows: int) -> Points:
        k = rng.randint(count, size=rows) if weights is None else rng.choice(count, rows, p=p)
        return locs[k] + deviations[k, None] * rng.randn(rows, 2)

    return PlanarLaw(sample, normals(torch.from_numpy(locs), torch.from_numpy(deviations), torch.from_numpy(np.log(p))))


def _on_circle(radius: float, degrees: Sequence[float]) -> list[tuple[float, float]]:
    return [(radius * math.cos(a), radius * math.sin(a)) for a in map(math.radians, degrees)]


def _sample_sine(rng: RandomState, rows: int) -> Points:
    x0 = rng.uniform(-2, 2, rows)
    return np.stack([x0, np.sin(3 * x0) + 0.25 * rng.randn(rows)], axis=1)


def _sine(x: Tensor) -> Tensor:
    x0, x1 = x.double().unbind(-1)
    inside = log_normal(x1, torch.sin(3 * x0), 0.25) - math.log(4)
    return torch.where(x0.abs() <= 2, inside, -math.inf)


def _blurred_circles(radii: tuple[float, ...], noise: float) -> PlanarLaw:
    """Circles about the origin, equally likely, with normal noise in the plane.

    The angle integrates out: ``p(x) = mean_k exp(-(|x| - r_k)^2 / 2 s^2) I0e(|x| r_k / s^2) / (2 pi s^2)``, with
    the scaled Bessel function ``I0e(z) = exp(-z) I0(z)``.
    """

    def sample(rng: RandomState, rows: int) -> Points:
        radius = np.array(radii)[rng.randint(len(radii), size=rows)]
        angle = rng.uniform(0, 2 * np.pi, rows)
        e = rng.randn(rows, 2)
        return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) + noise * e

    def log_density(x: Tensor) -> Tensor:
        radius = torch.linalg.vector_norm(x.double(), dim=-1)[..., None]
        r = torch.tensor(radii, dtype=torch.float64)
        terms = -0.5 * ((radius - r) / noise).square() + torch.special.i0e(radius * r / noise**2).log()
        return torch.logsumexp(terms, dim=-1) - math.log(len(radii) * noise**2) - LOG_2PI

    return PlanarLaw(sample, log_density)


SPIRAL_TURN, SPIRAL_BOX, SPIRAL_NOISE = 3 * math.pi, 1 / 6, 0.1


def _two_spirals() -> PlanarLaw:
    """Two spirals of one and a half turns, one the other's image through the origin.

    ``x = s (c(t) + u / 6) + 0.1 e`` with ``c(t) = t (-cos t, sin t) / 3``, ``t = 3 pi sqrt(v)``, a fair sign s, v and
    the two u uniform on [0, 1], and e standard normal. Given t, each coordinate is a uniform plus a normal, whose
    density is a difference of two normal distribution functions; t is integrated out by quadrature.
    """
    # against 160 panels, log p is off by less than 1e-11 on rows of the law, and by 2e-4 within 4 of the origin
    v, weights = unit_quadrature(panels=48)  # nodes of sqrt(v), whose density is 2 sqrt(v)
    centre = torch.from_numpy(_spiral_centre((SPIRAL_TURN * v).numpy()))
    log_weights = (weights * 2 * v).log() - math.log(2) - 2 * math.log(SPIRAL_BOX)

    def chunk(x: Tensor) -> Tensor:
        arms = [_log_box(sign * x[:, None, :] - centre).sum(-1) for sign in (1, -1)]  # (n, K) each
        return torch.logsumexp(torch.cat([log_weights + arm for arm in arms], dim=-1), dim=-1)

    return PlanarLaw(_sample_two_spirals, lambda x: in_chunks(chunk, x))


def _spiral_centre(t: Points) -> Points:
    return np.stack([-np.cos(t), np.sin(t)], axis=1) * t[:, None] / 3


def _log_box(x: Tensor) -> Tensor:
    """Log of ``Phi(x / 0.1) - Phi((x - 1/6) / 0.1)``, without cancellation in either tail."""
    half, distance = SPIRAL_BOX / 2, (x - SPIRAL_BOX / 2).abs()
    upper = torch.special.log_ndtr((half - distance) / SPIRAL_NOISE)
    lower = torch.special.log_ndtr((-half - distance) / SPIRAL_NOISE)
    return upper + torch.log1p(-(lower - upper).exp())


def _sample_two_spirals(rng: RandomState, rows: int) -> Points:
    sign = 1.0 - 2 * rng.randint(2, size=rows)
    t = SPIRAL_TURN * np.sqrt(rng.uniform(0, 1, rows))
    u = rng.uniform(0, SPIRAL_BOX, (rows, 2))
    return sign[:, None] * (_spiral_centre(t) + u) + SPIRAL_NOISE * rng.randn(rows, 2)


_EIGHT = _on_circle(4 / math.sqrt(2), [45 * k for k in range(8)])
_TRIMODAL = [(0.0, 0.0), (5.0, 5.0), (5.0, -5.0)]
_FACE = [*_on_circle(4, [-60, -120]), (0.0, 0.0), *_on_circle(4, [45, 60, 75, 90, 105, 120, 135])]

TOYS: Mapping[str, PlanarLaw] = {
    "moons": PlanarLaw(_sample_moons, _moons),
    "checkerboard": PlanarLaw(_sample_checkerboard, _checkerboard),
    "eight_gaussians": _gaussians(_EIGHT, [0.5 / math.sqrt(2)] * 8),
    "gaussian": _gaussians([(0.0, 0.0)], [1.0]),
    "sine": PlanarLaw(_sample_sine, _sine),
    "trimodal": _gaussians(_TRIMODAL, [1.0, 0.5, 0.5]),
    "trimodal2": _gaussians(_TRIMODAL, [0.5, 0.5, 0.5]),
    "smile": _gaussians(_FACE, [0.5] * 10, [0.5 / 3] * 3 + [0.5 / 7] * 7),
    "two_spirals": _two_spirals(),
    "rings": _blurred_circles((0.75, 1.5, 2.25, 3.0), noise=0.08),
}
