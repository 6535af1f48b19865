"""Estimators against the exact gradient, which few categories can be enumerated for.

Statistical checks have a fixed seed; one coordinate exceeds 4.5 standard errors with a probability of 7e-6, and there
are fewer than 300 of them.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from logprob.gradients import (
    DisARM,
    Enumeration,
    LeaveOneOut,
    Reparameterized,
    RunningMean,
    ScoreFunction,
    StraightThrough,
    StraightThroughRelaxed,
)
from logprob.simplex.concrete import Concrete
from logprob.simplex.gumbel_rao import GumbelRao
from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.rebar import REBAR
from logprob.simplex.reinmax import ReinMax
from logprob.simplex.relax import RELAX, ControlNetwork
from logprob.simplex.sparsemax import Entmax

K, V = 5, 2
DRAWS = 20_000

PATHWISE = {
    "straight-through": StraightThrough,
    "straight-through, decoupled": lambda: StraightThrough(2.0),
    "straight-through, relaxed": StraightThroughRelaxed,
    "straight-through, relaxed, decoupled": lambda: StraightThroughRelaxed(0.3),
    "Gumbel-Rao": lambda: GumbelRao(3),
    "ReinMax": ReinMax,
}
UNBIASED = {
    "score function": ScoreFunction,
    "score function, running mean": lambda: ScoreFunction(RunningMean()),
    "leave-one-out": LeaveOneOut,
    "REBAR": REBAR,
    "RELAX": lambda: RELAX(ControlNetwork(V, K).double()),
}
RELAXED = {"reparameterised": Reparameterized, "entmax": Entmax}
ALL = PATHWISE | UNBIASED | RELAXED


def concrete(parameters):
    return Concrete(0.5, parameters)


def gaussian(parameters):
    return InvertibleGaussian(parameters[..., 1:], scale=1.0, temperature=0.5, delta=1.3)


LAWS = {"concrete": concrete, "invertible Gaussian": gaussian}
law = pytest.mark.parametrize("make", LAWS.values(), ids=LAWS)


@pytest.fixture
def parameters():
    torch.manual_seed(0)
    return torch.randn(V, K, dtype=torch.float64)


@pytest.fixture
def f():
    """Joins both variables by products of all entries."""
    torch.manual_seed(1)
    matrix = torch.randn(V * K, V * K, dtype=torch.float64)
    return lambda z: torch.einsum("...i,ij,...j->...", z.flatten(-2), matrix, z.flatten(-2)) + 1


def gradients(make, estimator, f, parameters, draws, sample_shape=()):
    """One estimate of the gradient for each draw, ``(draws, V, K)``, and the values."""
    copies = parameters.expand(draws, *parameters.shape).clone().requires_grad_()
    value = estimator(make(copies), f, sample_shape)
    value = value.mean(0) if sample_shape else value
    (found,) = torch.autograd.grad(value.sum(), copies)
    return found, value


def exact(make, f, parameters):
    leaf = parameters.clone().requires_grad_()
    value = Enumeration()(make(leaf), f)
    return torch.autograd.grad(value, leaf)[0], value


def assert_means(draws, truth, limit=4.5):
    """The mean over the first dimension is the truth, within standard errors."""
    error = (draws.mean(0) - truth).abs()
    assert (error <= limit * draws.std(0) / len(draws) ** 0.5 + 1e-12).all(), error


@law
@pytest.mark.parametrize("name", UNBIASED)
def test_unbiased_means_unbiased(make, name, f, parameters):
    estimator = UNBIASED[name]()
    assert estimator.unbiased
    shape = (2,) if name == "leave-one-out" else ()
    draws = DRAWS if make is concrete or name not in ("REBAR", "RELAX") else DRAWS // 4
    found, value = gradients(make, estimator, f, parameters, draws, shape)
    truth, mean = exact(make, f, parameters)
    assert_means(found, truth)
    assert_means(value, mean)


@law
def test_disarm_is_unbiased_and_better_than_two_independent_samples(make, f):
    parameters = torch.tensor([[0.3, -0.5], [1.0, 0.2]], dtype=torch.float64)
    function = lambda z: f(nn.functional.pad(z, (0, K - 2)))  # noqa: E731
    truth, mean = exact(make, function, parameters)
    found, value = gradients(make, DisARM(), function, parameters, DRAWS)
    assert DisARM.unbiased
    assert_means(found, truth)
    assert_means(value, mean)
    independent, _ = gradients(make, LeaveOneOut(), function, parameters, DRAWS, (2,))
    assert found.var(0).sum() < independent.var(0).sum()


def test_disarm_is_for_two_categories(f, parameters):
    with pytest.raises(ValueError, match="DisARM takes 2 categories, got 5"):
        DisARM()(concrete(parameters), f)


def outcomes(estimator, f, parameters):
    """The estimate at each category of one variable, for estimators that use no further noise, ``(K, K)``."""
    copies = parameters.expand(400, K).clone().requires_grad_()
    seen = []
    value = estimator(concrete(copies), lambda z: seen.append(z.detach()) or f(z))
    (found,) = torch.autograd.grad(value.sum(), copies)
    first = [int((seen[0].argmax(-1) == k).nonzero()[0]) for k in range(K)]
    return found[first]


@pytest.fixture
def one():
    torch.manual_seed(3)
    return torch.randn(K, dtype=torch.float64) / 2, torch.randn(K, K, dtype=torch.float64)


def exact_of_one(f, logits):
    p = logits.softmax(-1)
    values = f(torch.eye(K, dtype=torch.float64))
    return p * (values - p @ values)


def test_reinmax_is_exact_for_quadratic_functions_at_temperature_one(one):
    logits, matrix = one
    quadratic = lambda z: ((z @ matrix) * z).sum(-1) + z[..., 0]  # noqa: E731
    mean = logits.softmax(-1) @ outcomes(ReinMax(), quadratic, logits)
    torch.testing.assert_close(mean, exact_of_one(quadratic, logits), rtol=0, atol=1e-12)
    biased = logits.softmax(-1) @ outcomes(ReinMax(1.5), quadratic, logits)
    assert (biased - exact_of_one(quadratic, logits)).abs().max() > 1e-3


def test_straight_through_is_exact_for_linear_functions(one):
    logits, matrix = one
    linear = lambda z: z @ matrix[0]  # noqa: E731
    found = outcomes(StraightThrough(), linear, logits)
    torch.testing.assert_close(found, exact_of_one(linear, logits).expand(K, K), rtol=0, atol=1e-12)
    decoupled = outcomes(StraightThrough(2.0), linear, logits)
    torch.testing.assert_close(decoupled[0], exact_of_one(linear, logits / 2) / 2, rtol=0, atol=1e-12)


@law
def test_relaxed_straight_through_has_the_jacobian_of_the_relaxed_sample(make, parameters):
    weights = torch.randn(V, K, dtype=torch.float64)
    for estimator, temperature in ((StraightThroughRelaxed(), 0.5), (StraightThroughRelaxed(0.2), 0.2)):
        leaf = parameters.clone().requires_grad_()
        torch.manual_seed(5)
        (found,) = torch.autograd.grad((estimator.rsample(make(leaf)) * weights).sum(), leaf)
        torch.manual_seed(5)
        q = make(leaf)
        relaxed = (q.scores(q.draw_noise()) / temperature).softmax(-1)
        torch.testing.assert_close(found, torch.autograd.grad((relaxed * weights).sum(), leaf)[0])


@law
@pytest.mark.parametrize("name", PATHWISE)
def test_pathwise_samples_are_one_hot_with_the_probabilities_of_the_law(make, name, parameters):
    with torch.no_grad():
        z = PATHWISE[name]().rsample(make(parameters), (4000,))
    assert z.shape == (4000, V, K)
    assert z.dtype == torch.float64
    assert ((z == 0) | (z == 1)).all()
    assert (z.sum(-1) == 1).all()
    assert_means(z, make(parameters).logits.exp())


@law
@pytest.mark.parametrize("name", ALL)
def test_contract(make, name, parameters):
    """Shapes, types, a value that is f at what f was called with, a gradient for the law and for f's own parameters."""
    torch.manual_seed(2)
    estimator = ALL[name]().to(torch.float32)
    network = nn.Linear(V * K, 1)
    seen = []

    def f(z):
        seen.append(z.detach())
        return network(z.flatten(-2)).squeeze(-1)

    leaf = parameters.float().expand(3, V, K).clone().requires_grad_()
    value = estimator(make(leaf), f, (4,))
    assert value.shape == (4, 3)
    assert value.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(value, network(seen[0].flatten(-2)).squeeze(-1), rtol=0, atol=1e-6)
        assert ((seen[0] == 0) | (seen[0] == 1)).all() == (estimator.value == "one-hot")
    value.mean().backward()
    assert leaf.grad.isfinite().all()
    assert (leaf.grad != 0).any(-1).all()
    torch.testing.assert_close(network.weight.grad, seen[0].mean((0, 1)).reshape(1, -1))
    for parameter in estimator.parameters():
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_without_gradients_only_the_value_is_made(name, f, parameters):
    with torch.no_grad():
        value = ALL[name]()(concrete(parameters.expand(3, V, K)), f, (2,))
    assert value.shape == (2, 3)
    assert not value.requires_grad


def test_a_running_mean_knows_nothing_of_the_present_values():
    baseline = RunningMean(0.5)
    assert baseline(torch.tensor([1e6, 3e6])) == 0
    assert baseline(torch.tensor([7.0])) == 2e6
    assert baseline.eval()(torch.tensor([7.0])) == baseline(torch.tensor([9.0]))
    other = RunningMean(0.5)
    other.load_state_dict(baseline.state_dict())
    assert other(torch.tensor([0.0])) == baseline(torch.tensor([0.0]))


def test_the_running_mean_takes_variance_off(f, parameters):
    shifted = lambda z: f(z) + 20  # noqa: E731
    plain, _ = gradients(concrete, ScoreFunction(), shifted, parameters, 4000)
    estimator = ScoreFunction(RunningMean())
    gradients(concrete, estimator, shifted, parameters, 4000)
    better, _ = gradients(concrete, estimator, shifted, parameters, 4000)
    assert better.var(0).sum() < plain.var(0).sum() / 10


@law
def test_enumeration_sums_over_joint_categories(make, f, parameters):
    p = make(parameters).logits.exp()
    eye = torch.eye(K, dtype=torch.float64)
    total = sum(p[0, i] * p[1, j] * f(torch.stack([eye[i], eye[j]])) for i in range(K) for j in range(K))
    torch.testing.assert_close(Enumeration()(make(parameters), f), total)
    batch = parameters.expand(3, V, K)
    assert Enumeration()(make(batch), f, (2,)).shape == (2, 3)
    torch.testing.assert_close(Enumeration()(make(batch), f, (2,))[1, 2], total)


@pytest.mark.parametrize("name", ["score function", "REBAR"])
def test_f_must_give_one_number_a_sample(name, parameters):
    with pytest.raises(ValueError, match=r"starts with \(4,\).*got \(5,\)"):
        UNBIASED[name]()(concrete(parameters), lambda z: z.sum((0, 1)), (4,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q, f: LeaveOneOut()(q, f), "at least 2 samples"),
        (lambda q, f: LeaveOneOut()(q, f, (1,)), r"got sample_shape \(1,\)"),
        (lambda q, f: Enumeration(24)(q, f), r"at most 24 joint categories, got 5\^2"),
        (lambda q, f: StraightThrough(0.0), "backward_temperature must be positive, got 0.0"),
        (lambda q, f: StraightThroughRelaxed(-1.0), "backward_temperature must be positive, got -1.0"),
        (lambda q, f: RunningMean(1.0), "0 <= decay < 1, got 1.0"),
        (lambda q, f: ReinMax(0.5), "at least 1, got 0.5"),
        (lambda q, f: GumbelRao(0), "got 0 and None"),
        (lambda q, f: REBAR(0.0), "positive, got 0.0"),
        (lambda q, f: REBAR(count=0), "at least 1, got 0"),
        (lambda q, f: Entmax(0.9), "at least 1, got 0.9"),
    ],
)
def test_errors_say_what_came(call, message, f, parameters):
    with pytest.raises(ValueError, match=message):
        call(concrete(parameters), f)
