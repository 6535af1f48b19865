"""Densities on the invertible network: contracts, other libraries, statistics."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from logprob.energy import InvertibleICA, ScaleMixtureFlow
from logprob.energy.invertible_sources import PreciseNormal, ScaleMixture
from logprob.nn import take_copy
from logprob.testing import check_distribution


def disturbed(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 0])
NODES = torch.cartesian_prod(*[torch.linspace(-12, 12, 601, dtype=torch.float64)] * 2)
WEIGHTS = torch.full((len(NODES),), 0.04**2, dtype=torch.float64)
MODELS = {
    "diagonal": lambda: disturbed(InvertibleICA(2, conditions=3, layers=2)),
    "full": lambda: disturbed(InvertibleICA(2, conditions=3, layers=2, base="full")),
    "noise": lambda: disturbed(ScaleMixtureFlow(2, layers=2, scales=3)),
}


@pytest.mark.parametrize("name", MODELS)
def test_contract(name):
    context = None if name == "noise" else LABELS
    check_distribution(MODELS[name], torch.randn(7, 2), context=context)


@pytest.mark.parametrize("name", MODELS)
def test_mass_is_one(name):
    model = MODELS[name]().double()
    context = None if name == "noise" else torch.full((len(NODES),), 1)
    mass = (model(context).log_prob(NODES).exp() * WEIGHTS).sum()
    assert abs(mass.item() - 1) < 2e-2  # kinks and peaks, seen by a grid


def test_precise_normal_is_torchs():
    log_precision = torch.randn(3, 4, dtype=torch.float64)
    shared = torch.randn(4, 4, dtype=torch.float64)
    z = torch.randn(7, 4, dtype=torch.float64)
    precision = shared @ shared.T + log_precision.exp()[LABELS].diag_embed()
    expected = MultivariateNormal(torch.zeros(4, dtype=torch.float64), precision_matrix=precision)
    torch.testing.assert_close(PreciseNormal(log_precision, LABELS, shared).log_prob(z), expected.log_prob(z))
    expected = Normal(torch.zeros(()), (-log_precision[LABELS] / 2).exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(PreciseNormal(log_precision, LABELS).log_prob(z), expected)


def test_precise_normal_draws_have_its_covariance():
    torch.manual_seed(0)
    law = PreciseNormal(torch.randn(3, 2), LABELS[:2], torch.randn(2, 2))
    draws = law.sample((200_000,))  # (S, 2, D)
    precision = law.shared @ law.shared.T + law.log_precision.exp()[LABELS[:2]].diag_embed()
    for k in range(2):
        covariance = precision[k].inverse()
        error = 5 * (2 / 200_000) ** 0.5 * covariance.diagonal().max()  # five standard errors
        assert (draws[:, k].T.cov() - covariance).abs().max() < error


def test_scale_mixture_is_torchs():
    logits, log_scale = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    z = torch.randn(7, 3, dtype=torch.float64)
    mixture = MixtureSameFamily(Categorical(logits=logits), Normal(torch.zeros(5), log_scale.exp()))
    torch.testing.assert_close(ScaleMixture(logits, log_scale, 3).log_prob(z), mixture.log_prob(z).sum(-1))


def test_draws_of_the_noise_have_its_moments():
    torch.manual_seed(0)
    law = ScaleMixture(torch.tensor([0.0, 1.0]), torch.tensor([-1.0, 0.5]), 2)
    draws = law.sample((200_000,))
    weights, variances = law.logits.softmax(-1), (2 * law.log_scale).exp()
    variance = (weights * variances).sum()
    fourth = 3 * (weights * variances**2).sum()
    error = 5 * ((fourth - variance**2) / 200_000).sqrt()
    assert (draws.square().mean(0) - variance).abs().max() < error


@pytest.mark.parametrize("make", [lambda c: InvertibleICA(2, 3, 2, "full", c), lambda c: ScaleMixtureFlow(2, 2, 4, c)])
def test_copies_are_the_models_alone(make):
    many, x = disturbed(make(3)), torch.randn(7, 2)
    log_prob = many(LABELS).log_prob(x)
    assert log_prob.shape == (3, 7)
    alone = take_copy(many, 1)
    torch.testing.assert_close(alone(LABELS).log_prob(x), log_prob[1])
    torch.testing.assert_close(alone.features(x), many.features(x)[1])
    draws = many(LABELS).sample((4,))
    assert draws.shape == (4, *many(LABELS).batch_shape, 2)


def test_a_distribution_keeps_its_parameters():
    model, x = MODELS["full"](), torch.randn(7, 2)
    law = model(LABELS)
    before = law.log_prob(x)
    disturbed(model)
    assert torch.equal(law.log_prob(x), before)


def test_labels_are_asked_for():
    model = InvertibleICA(2, conditions=3, layers=1)
    with pytest.raises(ValueError, match="expected labels"):
        model()
    with pytest.raises(ValueError, match="must be integers"):
        model(torch.randn(7))
    with pytest.raises(ValueError, match="from 0 to 2, got -1 to 3"):
        model(torch.tensor([-1, 3]))
    with pytest.raises(ValueError, match="diagonal or full"):
        InvertibleICA(2, 3, 1, base="banded")
    with pytest.raises(ValueError, match="scales must be"):
        ScaleMixtureFlow(2, 1, scales=0)


@pytest.mark.parametrize("base", ["diagonal", "full"])
def test_each_copy_has_a_score_of_its_own(base):
    many, x = disturbed(InvertibleICA(2, conditions=3, layers=2, base=base, copies=3)), torch.randn(7, 2)
    scores = many(LABELS).score(x)
    assert scores.shape == (3, 7, 2)
    for index in range(3):
        torch.testing.assert_close(scores[index], take_copy(many, index)(LABELS).score(x), atol=1e-4, rtol=1e-4)


def test_a_copy_that_diverged_does_not_stop_the_others():
    many, x = disturbed(InvertibleICA(2, conditions=3, layers=1, base="full", copies=3)), torch.randn(7, 2)
    with torch.no_grad():
        many.log_precision[1] = torch.nan
    loss = -many(LABELS).log_prob(x).mean(-1)
    assert loss.isfinite().tolist() == [True, False, True]
    loss.sum().backward()
    assert many.shared.grad.isfinite().flatten(1).all(1).tolist() == [True, False, True]
