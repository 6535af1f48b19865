"""Means of Gaussian sticks beside adaptive quadrature, and the locations that make them uniform."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.integrate import quad

from logprob.simplex.mean_sticks import mean_sigmoid, mean_sticks, uniform_mean_sticks_loc

DOUBLE = torch.float64


def adaptive(loc, scale):
    """Between points that lie around the step of the sigmoid."""
    step = [(-loc + shift) / scale for shift in (-36, -5, 0, 5, 36)]
    ends = [-9.0, *sorted(x for x in step if abs(x) < 9), 9.0]

    def integrand(noise):
        return math.exp(-(noise**2) / 2) / (1 + math.exp(-max(loc + scale * noise, -700.0)))

    parts = [quad(integrand, a, b, epsabs=1e-15, epsrel=1e-13)[0] for a, b in itertools.pairwise(ends)]
    return sum(parts) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("scale", [0.01, 1.0, 1.99, 2.01, 30.0])
def test_mean_sigmoid(scale):
    for loc in (-30.0, -2.3, 0.0, 6.0):
        got = mean_sigmoid(torch.tensor(loc, dtype=DOUBLE), torch.tensor(scale, dtype=DOUBLE))
        assert got.item() == pytest.approx(adaptive(loc, scale), abs=1e-14)


def test_single_precision():
    loc, scale = 3 * torch.randn(200), torch.rand(200).mul(6).add(0.01)
    torch.testing.assert_close(mean_sigmoid(loc, scale), mean_sigmoid(loc.double(), scale.double()).float())


def test_gradients():
    loc = torch.tensor([-1.0, 0.5, 2.0], dtype=DOUBLE, requires_grad=True)
    scale = torch.tensor([0.5, 3.0, 1.5], dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(mean_sticks, (loc, scale))


@pytest.mark.parametrize("categories", [2, 10, 100])
@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_uniform_means(categories, scale):
    loc = uniform_mean_sticks_loc(categories, scale)
    means = mean_sticks(loc, torch.full_like(loc, scale))
    torch.testing.assert_close(means, torch.full_like(means, 1 / categories), rtol=1e-12, atol=0)


def test_numbers_out_of_range():
    with pytest.raises(ValueError, match="got 1 and"):
        uniform_mean_sticks_loc(1)
    with pytest.raises(ValueError, match=r"got 5 and -1\.0"):
        uniform_mean_sticks_loc(5, -1.0)
