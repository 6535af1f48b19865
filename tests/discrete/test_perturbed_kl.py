"""The bound of the divergence of perturbed scores: quadrature, its best shift, and laws that are known exactly."""

from __future__ import annotations

import itertools
import math

import golden_discrete
import pytest
import torch
from scipy import integrate

from logprob.discrete.noise import Gumbel
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.perturbed_kl import gumbel_divergence, shifted_gumbel_divergence
from logprob.discrete.solvers.top_k import TopK
from logprob.distributions.kl_bound import kl_bound


def test_the_divergence_of_gumbel_variables_is_that_of_quadrature():
    def integrand(x, d):
        log_density = lambda y: -y - math.exp(-y)  # noqa: E731
        return math.exp(log_density(x - d)) * (log_density(x - d) - log_density(x))

    for d in (-1.5, 0.0, 0.7):
        expected, _ = integrate.quad(integrand, -6, 40, args=(d,))
        assert gumbel_divergence(torch.tensor([d])).item() == pytest.approx(expected, abs=1e-6)


def test_the_divergence_is_that_of_the_reference():
    golden = golden_discrete.load("models_losses")
    d = golden["dvae_logits"]
    torch.testing.assert_close(gumbel_divergence(d), golden["dvae_kl_gumbel_unshifted_per_image"])


def test_no_other_shift_is_better():
    torch.manual_seed(0)
    d = torch.randn(4, 6).double()
    shifts = torch.linspace(-3, 3, 6001).double()
    best = gumbel_divergence(d + shifts[:, None, None]).amin(0)
    torch.testing.assert_close(shifted_gumbel_divergence(d), best, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_it_bounds_the_law_of_sampling_without_replacement(scale, temperature):
    """The largest k of Gumbel-perturbed scores are k draws without replacement: the sum over their orders."""
    torch.manual_seed(0)
    n, k = 5, 2
    scores = scale * torch.randn(n).double()
    probs = (scores / temperature).softmax(-1)
    kl = 0.0
    for subset in itertools.combinations(range(n), k):
        mass = sum(probs[a] * probs[b] / (1 - probs[a]) for a, b in itertools.permutations(subset))
        kl += (mass * (mass * math.comb(n, k)).log()).item()
    laws = [PerturbAndMAP(s, TopK(k), Gumbel(), temperature) for s in (scores, torch.zeros(n).double())]
    assert 0 < kl <= kl_bound(*laws).item()
