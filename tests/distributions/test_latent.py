"""Models with latent variables: likelihoods, bounds, gradients, shapes."""

from __future__ import annotations

import copy
import pickle

import golden_simplex
import pytest
import torch
from torch.distributions import Normal

from logprob.distributions import (
    BernoulliPixels,
    GaussianLatent,
    GaussianPixels,
    IntractableError,
    LatentVariableModel,
    log_ratio,
)
from logprob.nn import MLP
from logprob.objectives import Batch, NegativeELBO, NegativeLikelihoodBound
from logprob.testing import check_objective


def make(variables=6, count=2):
    return LatentVariableModel(variables, GaussianLatent(count), MLP, MLP)


def rows(number=5, variables=6):
    return torch.bernoulli(torch.full((number, variables), 0.5))


def test_likelihoods_are_those_of_the_reference():
    golden = golden_simplex.load("objectives")
    logits, x = golden["logits"].flatten(2), golden["x_binary"].flatten(1)
    torch.testing.assert_close(BernoulliPixels()(logits, x), golden["bernoulli_log_prob"], rtol=1e-10, atol=1e-10)
    raw = torch.cat([golden["raw_mean"].flatten(2), golden["raw_scale"].flatten(2)], dim=-1)
    grey = golden["x_grey"].flatten(1)
    torch.testing.assert_close(GaussianPixels()(raw, grey), golden["gaussian_log_prob"], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("likelihood", [BernoulliPixels(), GaussianPixels()])
def test_means_are_those_of_draws(likelihood):
    raw = torch.randn(likelihood.parameters * 3)
    draws = likelihood.sample(raw.expand(200_000, -1))
    torch.testing.assert_close(draws.mean(0), likelihood.mean(raw), rtol=0, atol=0.02)


def test_bound_of_a_linear_gaussian_model_comes_close_to_its_evidence():
    """x = a z + b + noise: log p(x) is known; 5 standard errors of 2,000 estimates."""
    model = LatentVariableModel(1, GaussianLatent(1), lambda i, o: MLP(i, o, ()), _Line, _UnitGaussian())
    x = torch.tensor([[0.7]]).expand(2000, -1)
    bound = model().log_prob_bound(x, samples=200)
    evidence = Normal(0.5, 5**0.5).log_prob(torch.tensor(0.7))
    standard_error = bound.std() / len(bound) ** 0.5
    assert bound.mean() - evidence < 5 * standard_error
    assert evidence - bound.mean() < 0.05


class _Line(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()

    def forward(self, z):
        return 2 * z + 0.5


class _UnitGaussian(BernoulliPixels):
    def __call__(self, raw, x):
        return Normal(raw, 1.0).log_prob(x).sum(-1)


def test_more_samples_make_the_bound_tighter():
    model, x = make(), rows().repeat(2000, 1)
    one, ten = (model().log_prob_bound(x, samples).mean() for samples in (1, 10))
    assert one < ten


def test_bound_draws_from_its_generator():
    model, x = make(), rows()
    first, second = (model().log_prob_bound(x, 3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    generator = torch.Generator().manual_seed(1)
    assert not torch.equal(model().log_prob_bound(x, 3, generator), model().log_prob_bound(x, 3, generator))


def test_what_is_intractable_says_what_to_use():
    distribution = make()()
    for call in (lambda: distribution.log_prob(rows()), lambda: distribution.score(rows())):
        with pytest.raises(IntractableError, match="log_prob_bound"):
            call()
    with pytest.raises(IntractableError, match="no reparameterised"):
        distribution.rsample()


def test_shapes_types_and_copies():
    model, x = make().double(), rows()
    assert model().log_prob_bound(x).dtype == torch.float64
    assert model().sample((2, 3)).shape == (2, 3, 6)
    assert model().sample_mean((4,)).shape == (4, 6)
    assert model.reconstruct(x.long()).shape == (5, 6)
    generator = torch.Generator()
    expected = model().log_prob_bound(x, 2, generator.manual_seed(0))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other().log_prob_bound(x, 2, generator.manual_seed(0)), expected)


def test_several_groups_stand_side_by_side():
    model = LatentVariableModel(6, [GaussianLatent(2), GaussianLatent(3)], MLP, MLP)
    assert [q.batch_shape for q in model.posteriors(rows())] == [(5, 2), (5, 3)]
    assert model().log_prob_bound(rows(), 4).shape == (5,)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="at least one group"):
        LatentVariableModel(6, [], MLP, MLP)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        GaussianLatent(0)
    with pytest.raises(ValueError, match="floor must be positive"):
        GaussianPixels(0.0)


def test_the_multi_sample_bound_is_an_objective():
    check_objective(NegativeLikelihoodBound(samples=3), make, Batch(rows(8)))


def test_sticking_the_landing_leaves_the_value_and_cuts_the_parameters():
    loc = torch.tensor([0.3], requires_grad=True)
    q, p = Normal(loc, 1.0), Normal(0.0, 1.0)
    value = torch.tensor([0.8])
    assert torch.equal(log_ratio(q, p, value, stick_the_landing=True), log_ratio(q, p, value))
    assert not log_ratio(q, p, value, stick_the_landing=True).requires_grad
    with pytest.raises(NotImplementedError, match="Laplace"):
        log_ratio(torch.distributions.Laplace(0.0, 1.0), p, value, stick_the_landing=True)


def test_rows_that_the_likelihood_is_not_for_are_refused():
    for x in (255 * rows(), -rows() - 0.1, torch.full((2, 6), torch.nan)):
        with pytest.raises(ValueError, match=r"expects values in \[0, 1\]"):
            make().initialize(x)
    make().initialize(rows())


def test_a_context_is_refused():
    with pytest.raises(ValueError, match="takes no context"):
        make()(torch.zeros(5, 2))
    with pytest.raises(ValueError, match="takes no context"):
        NegativeELBO()(make(), Batch(rows(), context=torch.zeros(5, 2)))
