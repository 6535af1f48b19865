"""Distances to vertices, by hand and against the temperature."""

from __future__ import annotations

import pytest
import torch

from logprob.distributions import vertex_distance
from logprob.simplex.concrete import Concrete, ExpConcrete
from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.proximity import posterior_proximity, proximity, temperature_within


def gaussian(temperature):
    return InvertibleGaussian.uniform(10, temperature=temperature)


def concrete(temperature):
    return Concrete(temperature, logits=torch.zeros(10))


def test_distance_is_that_to_the_nearest_of_all_vertices():
    psi = torch.rand(50, 6, dtype=torch.float64)
    psi = psi / psi.sum(-1, keepdim=True)
    truth = torch.cdist(psi, torch.eye(6, dtype=torch.float64)).amin(-1)
    assert torch.allclose(vertex_distance(psi), truth, rtol=1e-12)
    assert (vertex_distance(torch.eye(6)) == 0).all()
    assert vertex_distance(torch.full((6,), 1 / 6)).item() == pytest.approx((5 / 6) ** 0.5)


def test_small_distances_are_not_lost():
    psi = torch.tensor([1e-7, 1 - 1e-7, 0.0])
    assert vertex_distance(psi).item() == pytest.approx(2**0.5 * 1e-7, rel=0.3)  # as 1 - 1e-7 is rounded


def test_statistics_by_temperature():
    near = proximity(gaussian, [0.05, 0.3, 1.0], samples=2000)
    assert near.distances.shape == (3, 2000)
    assert (near.median.diff() > 0).all()
    assert (near.quantile(0.1) < near.quantile(0.2)).all()
    assert near.deviation.shape == (3,)
    assert (near.share_within(0.2).diff() < 0).all()
    assert torch.equal(near.share_within(1.0), torch.ones(3))


@pytest.mark.parametrize("law_at", [gaussian, concrete, lambda t: InvertibleGaussian(torch.zeros(4, 3), 0.0, t, 2.0)])
def test_temperature_at_which_a_share_is_near(law_at):
    """Fresh draws; a share of 10 000 within 5 standard errors of two samples: false alarms 1e-6."""
    temperature = temperature_within(law_at, 0.75, 0.2)
    again = proximity(law_at, [temperature], samples=10_000).share_within(0.2).mean().item()
    assert again == pytest.approx(0.75, abs=5 * (2 * 0.75 * 0.25 / 10_000) ** 0.5)


def test_temperatures_that_do_not_enclose_the_answer():
    with pytest.raises(ValueError, match=r"below 0.75, got \(1.0, 2.0\)"):
        temperature_within(gaussian, samples=100, between=(1.0, 2.0))


def test_proximity_needs_a_temperature_and_points_of_the_simplex():
    with pytest.raises(ValueError, match="at least one temperature"):
        proximity(gaussian, [])
    with pytest.raises(ValueError, match="got ExpConcrete"):
        proximity(lambda t: ExpConcrete(t, logits=torch.zeros(10)), [0.5], samples=10)


def test_posterior():
    posterior = InvertibleGaussian(torch.randn(7, 3, 4), torch.zeros(4), 0.5)
    assert posterior_proximity(posterior).shape == (7,)
    sharp = InvertibleGaussian(torch.randn(7, 3, 4), torch.zeros(4), 1e-3)
    assert (posterior_proximity(sharp) < posterior_proximity(posterior)).all()
    with pytest.raises(ValueError, match=r"batch shape \(B, N\), got \(\)"):
        posterior_proximity(gaussian(1.0))
