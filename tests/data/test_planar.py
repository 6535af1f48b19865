"""The planar laws: each density integrates to one, has the known entropy, and is that of its own sampler."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import RandomState

from logprob.data.planar import LAWS

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "npc2" / "datasets_2d.npz")
PUBLISHED = ["ring", "mring", "banana", "funnel", "cosine", "spiral"]


def panels(low, high, count, order=16):
    """Composite Gauss-Legendre nodes and weights on [low, high]."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    width = (high - low) / count
    t = low + width * (np.arange(count)[:, None] + 0.5 * (nodes + 1))
    return t.ravel(), np.tile(0.5 * width * weights, count)


def polar(radius=9.0, angles=128):
    """Nodes for laws with a pole at the origin, dx = r dr da; r = u^3 tames log r in the entropy."""
    u, w = panels(0, radius ** (1 / 3), 60)
    a = (np.arange(angles) + 0.5) * 2 * np.pi / angles
    x = np.stack([np.outer(u**3, np.cos(a)), np.outer(u**3, np.sin(a))], -1)
    return x.reshape(-1, 2), np.outer(w * 3 * u**5, np.full(angles, 2 * np.pi / angles)).ravel()


def strips(x0, w0, centre, scale):
    """Nodes for laws narrow in x1 given x0: x1 = centre(x0) + scale(x0) t, t in [-12, 12]."""
    t, wt = panels(-12, 12, 12)
    x1 = centre(x0)[:, None] + scale(x0)[:, None] * t
    x = np.stack([np.repeat(x0, len(t)), x1.ravel()], -1)
    return x, np.outer(w0 * scale(x0), wt).ravel()


def grid(low, high, step):
    """The rectangle rule, which is exact to rounding for normals wider than two steps."""
    t = np.arange(low + step / 2, high, step)
    return np.stack(np.meshgrid(t, t, indexing="ij"), -1).reshape(-1, 2), np.full(len(t) ** 2, step**2)


def joined(*parts):
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


BREAK = -math.log(5)  # the funnel's variance is cut here
QUADRATURE = {
    "ring": lambda: polar(),
    "mring": lambda: polar(),
    "banana": lambda: strips(*panels(-24, 24, 40), lambda x: 0.2 * (x**2 - 4), np.ones_like),
    "funnel": lambda: strips(
        *joined(panels(-24, BREAK, 30), panels(BREAK, 24, 30)),
        np.zeros_like,
        lambda x: np.sqrt(np.minimum(np.exp(-x), 5)),
    ),
    "cosine": lambda: strips(*panels(-4, 4, 20), lambda x: 3 * np.cos(2 * x), np.ones_like),
    "spiral": lambda: grid(-9.6, 9.6, 0.07),
    "moons": lambda: grid(-2, 3, 0.04),
    "checkerboard": lambda: grid(-5, 5, 0.5),
    "eight_gaussians": lambda: grid(-6.5, 6.5, 0.1),
    "gaussian": lambda: grid(-9, 9, 0.2),
    "sine": lambda: strips(*panels(-2, 2, 20), lambda x: np.sin(3 * x), lambda x: np.full_like(x, 0.25)),
    "trimodal": lambda: grid(-9, 10, 0.15),
    "trimodal2": lambda: grid(-9, 10, 0.15),
    "smile": lambda: grid(-8, 8, 0.15),
    "two_spirals": lambda: grid(-4.05, 4.05, 0.09),
    "rings": lambda: grid(-4, 4, 0.04),
}


@functools.cache
def integrals(name):
    """Nodes, their probability masses, and the entropy, by quadrature."""
    x, w = QUADRATURE[name]()
    log_density = LAWS[name].log_density(torch.from_numpy(x)).numpy()
    mass = w * np.exp(log_density)
    return x, mass, -(mass * np.where(mass > 0, log_density, 0)).sum()


@pytest.mark.parametrize("name", LAWS)
def test_density_integrates_to_one_and_has_the_known_entropy(name):
    _, mass, entropy = integrals(name)
    assert mass.sum() == pytest.approx(1, abs=1e-10)
    if name in PUBLISHED:
        assert entropy == pytest.approx(GOLDEN[f"entropy_{name}"].item(), abs=1e-8)
    if name == "checkerboard":
        assert entropy == pytest.approx(math.log(32))
    if name == "gaussian":
        assert entropy == pytest.approx(math.log(2 * math.pi) + 1, abs=1e-9)
    if name == "sine":
        assert entropy == pytest.approx(math.log(4 * 0.25) + 0.5 * math.log(2 * math.pi * math.e), abs=1e-9)


@pytest.mark.parametrize("name", PUBLISHED)
def test_density_is_the_golden_one(name):
    density = LAWS[name].log_density(torch.from_numpy(GOLDEN[f"points_{name}"])).exp()
    np.testing.assert_allclose(density, GOLDEN[f"density_{name}"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", LAWS)
def test_sampler_draws_from_the_density(name):
    """The mean log-density of 4,000 draws is minus the entropy, to 5 standard errors (false alarm 6e-7)."""
    rows = LAWS[name].log_density(torch.from_numpy(LAWS[name].sample(RandomState(1), 4000)))
    error = rows.std().item() / math.sqrt(len(rows))
    assert abs(rows.mean().item() + integrals(name)[2]) <= 5 * error + 1e-12


@pytest.mark.parametrize("name", LAWS)
def test_sampler_fills_every_part_of_the_plane(name):
    """Counts of 20,000 draws in four quarters of the plane, within 5 standard errors (false alarm 2e-6).

    Two percent of the draws are allowed on top: the quarters' borders cut through quadrature cells.
    """

    def quarter(points):
        return (points > [0.37, 0.21]) @ np.array([1, 2])  # on no axis of symmetry

    x, mass, _ = integrals(name)
    expected = 20_000 * np.bincount(quarter(x), mass, 4)
    found = np.bincount(quarter(LAWS[name].sample(RandomState(2), 20_000)), minlength=4)
    assert np.all(np.abs(found - expected) <= 5 * np.sqrt(expected) + 400)


@pytest.mark.parametrize("name", LAWS)
def test_density_takes_any_batch_shape_and_float32(name):
    law, x = LAWS[name], torch.randn(3, 4, 2) + 0.1
    assert law.log_density(x).shape == (3, 4)
    assert law.log_density(x).dtype == torch.float64
    assert law.log_density(x[0, 0]).shape == ()
    torch.testing.assert_close(law.log_density(x)[1, 2], law.log_density(x[1, 2]))


def test_density_is_zero_off_the_support():
    outside = torch.tensor([[4.5, 0.0], [-4.1, 1.0]])
    assert (LAWS["cosine"].log_density(outside) == -math.inf).all()
    assert (LAWS["checkerboard"].log_density(torch.tensor([[1.0, -1.0], [5.0, 1.0]])) == -math.inf).all()


def test_toys_have_their_published_moments():
    """Means and spreads of 40,000 rows against the definitions; five standard errors are below the tolerances."""
    rows = {name: LAWS[name].sample(RandomState(3), 40_000) for name in ("rings", "trimodal", "smile", "two_spirals")}
    radii = np.linalg.norm(rows["rings"], axis=1)
    counts = [np.mean(np.abs(radii - r) < 0.37) for r in (0.75, 1.5, 2.25, 3.0)]
    np.testing.assert_allclose(counts, 0.25, atol=0.012)
    np.testing.assert_allclose(rows["trimodal"].mean(0), [10 / 3, 0], atol=0.12)
    upper = rows["trimodal"][rows["trimodal"][:, 1] > 3.5]
    np.testing.assert_allclose(upper.std(0), 0.5, atol=0.03)
    assert np.mean(rows["smile"][:, 1] > 1.5) == pytest.approx(0.5, abs=0.015)
    # |c(t)|^2, its product with the box's mean (E c0 = 4 / 9 pi, E c1 = 2 / 3 - 8 / 27 pi^2), box, noise
    mean = 4 / (9 * math.pi) + 2 / 3 - 8 / (27 * math.pi**2)
    expected = math.pi**2 / 2 + mean / 6 + 1 / 54 + 0.02
    assert np.mean(np.square(rows["two_spirals"]).sum(1)) == pytest.approx(expected, abs=0.08)
    np.testing.assert_allclose(rows["two_spirals"].mean(0), 0, atol=0.06)


def test_two_spirals_is_the_brute_force_mixture():
    """Against the mean of 400,000 normals about random points of curve and box, to 5 standard errors."""
    rng = RandomState(0)
    t = 3 * np.pi * np.sqrt(rng.uniform(0, 1, 400_000))
    u = rng.uniform(0, 1, (400_000, 2))
    centres = (t[:, None] * np.stack([-np.cos(t), np.sin(t)], 1) + 0.5 * u) / 3
    for x in LAWS["two_spirals"].sample(RandomState(1), 20):
        squares = [np.square((sign * x - centres) / 0.1).sum(1) for sign in (1, -1)]
        kernel = 0.5 * (np.exp(-0.5 * squares[0]) + np.exp(-0.5 * squares[1])) / (2 * np.pi * 0.01)
        error = kernel.std() / math.sqrt(len(kernel))
        density = LAWS["two_spirals"].log_density(torch.from_numpy(x)).exp().item()
        assert abs(density - kernel.mean()) <= 5 * error


def test_two_spirals_has_tails():
    """Far away log p falls as a normal's: finite, with a gradient that points back."""
    x = torch.tensor([[30.0, 0.0], [0.0, -50.0]], dtype=torch.float64, requires_grad=True)
    log_density = LAWS["two_spirals"].log_density(x)
    assert torch.isfinite(log_density).all()
    (gradient,) = torch.autograd.grad(log_density.sum(), x)
    assert gradient[0, 0] < 0 < gradient[1, 1]


def test_density_has_gradients():
    for law in LAWS.values():
        x = torch.randn(5, 2, requires_grad=True)
        log_density = law.log_density(x)
        if log_density.requires_grad:
            (gradient,) = torch.autograd.grad(log_density.sum(), x)
            assert torch.isfinite(gradient).all()
