"""Score functions of laws that draw samples with their log-probability, and baselines.

Statistical checks have a fixed seed; one coordinate exceeds 4.5 standard errors with a probability of 7e-6.
"""

from __future__ import annotations

import pytest
import torch
from golden_discrete import load
from torch import nn

from logprob.discrete.k_subset import KSubset
from logprob.discrete.noise import Gumbel
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.top_k import TopK
from logprob.discrete.spanning_trees import SpanningTrees
from logprob.gradients import (
    BatchMean,
    Enumeration,
    LearnedBaseline,
    LeaveOneOut,
    RunningDeviation,
    RunningMean,
    ScoreFunction,
)
from logprob.simplex.concrete import Concrete

ESTIMATORS = {
    "plain": ScoreFunction,
    "running mean": lambda: ScoreFunction(RunningMean(0.99)),
    "learned": lambda: ScoreFunction(LearnedBaseline(nn.Linear(6, 1).double(), RunningMean(0.99))),
    "leave-one-out": LeaveOneOut,
}
LAWS = {"subsets": lambda s: KSubset(s, 2), "trees": SpanningTrees}


class Replay:
    """A law whose draws are given."""

    has_enumerate_support = False

    def __init__(self, q, z, log_prob=None):
        self.q, self.z, self.log_prob_of_z = q, z, log_prob
        self.batch_shape, self.event_shape, self.scores = q.batch_shape, q.event_shape, q.scores

    def draw_with_log_prob(self, sample_shape=()):
        return self.z, self.q.log_prob(self.z) if self.log_prob_of_z is None else self.log_prob_of_z


@pytest.mark.parametrize(
    ("name", "make"),
    [("plain", ScoreFunction), ("loo", LeaveOneOut), ("batchmean", lambda: ScoreFunction(BatchMean()))],
)
def test_reference_numbers(name, make):
    golden = load("models_losses")
    scores = golden["sf_theta"].clone().requires_grad_()
    law = Replay(KSubset(scores, 2), golden["sf_z"].movedim(1, 0))
    values = golden["sf_f"].T
    value = make()(law, lambda z: values, (4,))
    torch.testing.assert_close(value, values)
    (found,) = torch.autograd.grad(value.mean(0).sum(), scores)
    torch.testing.assert_close(found, golden[f"sf_grad_{name}"], rtol=0, atol=1e-10)


def test_reference_numbers_of_perturbed_scores():
    """For perturb-and-MAP the score is that of the noise, ``(1 - exp(-noise)) / temperature``."""
    golden = load("models_losses")
    scores = golden["sf_theta"].clone().requires_grad_()
    noise = golden["sf_gumbel_noise"].movedim(1, 0)
    q = PerturbAndMAP(scores, TopK(2), Gumbel(), temperature=2.0)
    q.draw_noise = lambda sample_shape=(): noise
    values = golden["sf_f"].T
    value = LeaveOneOut()(q, lambda z: values, (4,))
    (found,) = torch.autograd.grad(value.mean(0).sum(), scores)
    torch.testing.assert_close(found, golden["sf_pam_gumbel_tau2_grad_loo"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_unbiased(law, name):
    torch.manual_seed(0)
    scores, matrix = torch.randn(6, dtype=torch.float64), torch.randn(6, 6, dtype=torch.float64)
    f = lambda z: ((z @ matrix) * z).sum(-1) + 1  # noqa: E731
    copies = scores.expand(20_000, 6).clone().requires_grad_()
    shape = (2,) if name == "leave-one-out" else ()
    value = ESTIMATORS[name]()(LAWS[law](copies), f, shape)
    (found,) = torch.autograd.grad(value.mean(0).sum() if shape else value.sum(), copies)
    leaf = scores.clone().requires_grad_()
    exact = Enumeration()(LAWS[law](leaf), f)
    (truth,) = torch.autograd.grad(exact, leaf)
    assert ((found.mean(0) - truth).abs() <= 4.5 * found.std(0) / len(found) ** 0.5).all()


def test_enumeration_over_joint_states_of_two_laws():
    torch.manual_seed(0)
    scores, weights = torch.randn(3, 2, 4), torch.randn(4, 4)
    f = lambda z: ((z[..., 0, :] @ weights) * z[..., 1, :]).sum(-1)  # noqa: E731
    q = KSubset(scores, 2)
    first, second = q.marginals.unbind(-2)
    expected = ((first @ weights) * second).sum(-1)
    torch.testing.assert_close(Enumeration()(q, f), expected)
    torch.testing.assert_close(Enumeration()(q, f, (2,)), expected.expand(2, 3))
    with pytest.raises(ValueError, match=r"at most 30 joint categories, got 6\^2"):
        Enumeration(30)(q, f)


def test_one_subset_and_one_category_have_the_same_expectation():
    logits = torch.randn(2, 3)
    f = lambda z: z @ torch.tensor([1.0, 5.0, -2.0])  # noqa: E731
    torch.testing.assert_close(Enumeration()(KSubset(logits, 1), f), Enumeration()(Concrete(0.5, logits), f))


def test_what_cannot_be_listed():
    with pytest.raises(TypeError, match="lists its states by enumerate_support, got PerturbAndMAP"):
        Enumeration()(PerturbAndMAP(torch.zeros(4), TopK(2)), lambda z: z.sum(-1))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_functions_own_gradient_is_as_usual(name):
    network = nn.Linear(6, 1).double()
    seen = []
    f = lambda z: seen.append(z) or network(z).squeeze(-1)  # noqa: E731
    q = KSubset(torch.randn(3, 6, dtype=torch.float64, requires_grad=True), 2)
    ESTIMATORS[name]()(q, f, (4,)).mean().backward()
    torch.testing.assert_close(network.weight.grad, seen[0].mean((0, 1)).unsqueeze(0))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_learned_baseline_is_fitted_whatever_the_sign_of_the_loss(sign):
    torch.manual_seed(0)
    baseline = LearnedBaseline(nn.Linear(4, 1))
    estimator, scores = ScoreFunction(baseline), torch.randn(8, 4, requires_grad=True)
    values = torch.randn(5, 8)
    (sign * estimator(KSubset(scores, 2), lambda z: values, (5,)).mean()).backward()
    found = [parameter.grad for parameter in baseline.parameters()]
    error = (values - baseline.network(scores.detach()).squeeze(-1)).square().mean()
    for gradient, expected in zip(found, torch.autograd.grad(error, list(baseline.parameters())), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_a_learned_baseline_takes_variance_off_that_a_mean_cannot():
    torch.manual_seed(0)
    scores = torch.randn(64, 4)
    level = 20 * scores[:, 0]
    f = lambda z: level + z[..., 0]  # noqa: E731
    mean, learned = ScoreFunction(RunningMean(0.99)), ScoreFunction(LearnedBaseline(nn.Linear(4, 1), RunningMean(0.99)))
    optimizer = torch.optim.Adam(learned.parameters(), lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        leaf = scores.clone().requires_grad_()
        learned(KSubset(leaf, 2), f).mean().backward()
        optimizer.step()
    mean(KSubset(scores.clone().requires_grad_(), 2), f)
    norms = []
    for estimator in (mean, learned):
        leaf = scores.clone().requires_grad_()
        estimator(KSubset(leaf, 2), f, (50,)).mean().backward()
        norms.append(leaf.grad.norm())
    assert norms[1] < norms[0] / 5


def test_a_baseline_may_be_fed_with_a_context():
    seen = []
    network = nn.Sequential(nn.Linear(3, 1))
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    estimator, context = ScoreFunction(LearnedBaseline(network)), torch.randn(5, 3, requires_grad=True)
    q = KSubset(torch.randn(5, 2, 6, requires_grad=True), 3)
    value = estimator(q, lambda z: z[..., 0].prod(-1), (4,), context)
    value.sum().backward()
    assert value.shape == (4, 5)
    assert torch.equal(seen[0], context)
    assert context.grad is None


def test_features_are_the_scores_of_all_variables_that_are_joined():
    shapes = []

    class Look(nn.Module):
        def forward(self, features):
            shapes.append(features.shape)
            return features[..., :1]

    estimator = ScoreFunction(LearnedBaseline(Look()))
    joined = lambda z: z.flatten(-2).sum(-1)  # noqa: E731
    estimator(KSubset(torch.randn(5, 2, 6), 3), joined, (4,))
    estimator(KSubset(torch.randn(5, 6), 3), lambda z: z.sum(-1))
    estimator(Concrete(0.5, torch.randn(5, 2, 6)), joined)
    assert shapes == [(5, 12), (5, 6), (5, 12)]


def test_the_deviation_scales_the_gradient_of_the_law_alone():
    scores, network = torch.randn(4, requires_grad=True), nn.Linear(4, 1)
    estimator = ScoreFunction(deviation=RunningDeviation(0.5))
    f = lambda z: 100 * network(z).squeeze(-1)  # noqa: E731
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        gradients = torch.autograd.grad(estimator(KSubset(scores, 2), f, (6,)).mean(), [scores, network.weight])
        found.append(gradients)
    torch.manual_seed(0)
    deviation = f(KSubset(scores, 2).sample((6,))).square().mean().sqrt()
    torch.testing.assert_close(found[1][0] * deviation, found[0][0])
    torch.testing.assert_close(found[1][1], found[0][1])


def test_functions_of_matrices_give_one_number_a_sample():
    class Matrices(Replay):
        def __init__(self):
            scores = torch.zeros(5, 3, 3)
            self.batch_shape, self.event_shape, self.scores = torch.Size((5,)), torch.Size((3, 3)), scores

        def draw_with_log_prob(self, sample_shape=()):
            return torch.zeros(*sample_shape, 5, 3, 3), torch.zeros(*sample_shape, 5)

    assert ScoreFunction()(Matrices(), lambda z: z.sum((-1, -2)), (2,)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"starts with \(2,\) and is the beginning of \(2, 5\), got \(2, 5, 3\)"):
        ScoreFunction()(Matrices(), lambda z: z.sum(-1), (2,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LeaveOneOut()(KSubset(torch.zeros(4), 2), lambda z: z.sum(-1)), "at least 2 samples"),
        (lambda: LearnedBaseline(nn.Linear(2, 1))(torch.zeros(3)), "needs features of the law"),
        (lambda: RunningDeviation(1.0), "0 <= decay < 1, got 1.0"),
    ],
)
def test_errors_say_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()
