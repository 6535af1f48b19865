"""Flows for integers: the bound is below the probability, and meets it with many samples."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch

from logprob.batch import Batch
from logprob.distributions import IntractableError
from logprob.flows import Flow, SelfNormalizingLinear, SurrogateOptions
from logprob.flows.dequantization import Dequantized
from logprob.flows.dequantization_noise import DequantizationNoise, UniformNoise, VariationalNoise
from logprob.flows.normalization import ActNorm
from logprob.flows.preprocessing import Normalize, PixelLogits
from logprob.objectives import SelfNormalizingLikelihood
from logprob.objectives.bound import NegativeLikelihoodBound
from logprob.testing import check_objective


def shaken(module, scale=0.3):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn_like(parameter)
    return module


def make_flow(variables=4, categories=3):
    return Flow([SelfNormalizingLinear(variables)], variables, preprocessing=[PixelLogits(categories)])


def make(noise="uniform", variables=4, categories=3):
    laws = {"uniform": UniformNoise, "variational": lambda: VariationalNoise((1, 2, 2), categories, 2, 4)}
    return shaken(Dequantized(make_flow(variables, categories), categories, laws[noise]()))


def rows(count=6, variables=4, categories=3):
    return torch.randint(categories, (count, variables))


def exact_log_prob(x, loc, scale):
    normal = torch.distributions.Normal(loc, scale)
    return (normal.cdf(x + 1.0) - normal.cdf(x.to(loc.dtype))).log().sum(-1)


def known(noise=None):
    """A model of which the integral over the cell is known: independent normals; and its parameters."""
    loc, scale = torch.tensor([0.7, 1.9, 1.0, 2.2]).double(), torch.tensor([0.4, 0.8, 0.5, 1.5]).double()
    return Dequantized(Flow([Normalize(loc, scale)], 4), 3, noise).double(), loc, scale


@pytest.mark.parametrize("noise", ["uniform", "variational"])
def test_the_bound_meets_the_probability(noise):
    law = None if noise == "uniform" else shaken(VariationalNoise((1, 2, 2), 3, steps=2, width=4), 0.1)
    model, loc, scale = known(law)
    x = rows(4)
    exact = exact_log_prob(x, loc, scale)
    distribution = model()
    with torch.no_grad():
        loose = torch.stack([distribution.log_prob_bound(x) for _ in range(400)])
        tight = distribution.log_prob_bound(x, samples=10_000)
    # Four standard errors: one test in ten thousand fails by chance.
    assert (loose.mean(0) < exact + 4 * loose.std(0) / 20).all()
    torch.testing.assert_close(tight, exact, rtol=0, atol=0.15)
    assert (loose.mean(0) < tight).all()


def test_more_samples_raise_the_bound():
    model = known()[0]
    x = rows(50)
    with torch.no_grad():
        bounds = [model().log_prob_bound(x, samples).mean() for samples in (1, 10, 1000)]
    assert bounds[0] < bounds[1] < bounds[2]


def test_probabilities_sum_to_one():
    model = make().double()
    states = torch.cartesian_prod(*[torch.arange(3)] * 4)
    with torch.no_grad():
        mass = model().log_prob_bound(states, samples=2000).exp().sum()
    assert abs(mass - 1) < 0.05


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_integers(kind):
    model, x = make(), rows()
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    bounds = [model().log_prob_bound(x.to(k), 2, g) for k, g in zip((kind, torch.int64), generators, strict=True)]
    assert torch.equal(*bounds)
    assert bounds[0].dtype == torch.float32


def test_values_that_are_no_categories_have_no_probability():
    x = torch.tensor([[0, 0, 0, 0], [0, 3, 0, 0], [-1, 0, 0, 0]])
    model = make()
    bound = model().log_prob_bound(x)
    assert bound.isinf().tolist() == [False, True, True]
    bound[0].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("call", ["surrogate_log_prob", "dequantize", "reconstruct", "initialize"])
@pytest.mark.parametrize("wrong", [3, -1, 200])
def test_values_that_are_no_categories_are_named(call, wrong):
    x = torch.tensor([[0, 1, wrong, 2]], dtype=torch.int16)
    with pytest.raises(ValueError, match=rf"values must be in 0 .. 2, got .*{wrong}"):
        getattr(make(), call)(x)


def test_the_surrogate_of_rows_under_a_function_transform_does_not_look_at_the_values():
    model, x = make(), rows()
    z = torch.func.vmap(lambda row: model.dequantize(row[None])[0][0], randomness="different")(x)
    assert torch.equal(z.floor().long(), x)


def test_a_law_of_the_noise_may_share_its_parts():
    class Shared(DequantizationNoise):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(4, 4)
            self.second = self.first

        def forward(self, x, generator=None):
            u = torch.sigmoid(self.second(self.first(x)))
            return u, x.new_zeros(len(x))

    noise, x = Shared(), rows()
    distribution = Dequantized(make_flow(), 3, noise)()
    expected = distribution.log_prob_bound(x)
    with torch.no_grad():
        noise.first.weight.mul_(2)
    assert torch.equal(distribution.log_prob_bound(x), expected)
    expected.sum().backward()
    assert (noise.first.weight.grad != 0).any()


@pytest.mark.parametrize("noise", ["uniform", "variational"])
def test_no_rows(noise):
    model, x = make(noise), rows()[:0]
    assert model().log_prob_bound(x, samples=3).shape == model.surrogate_log_prob(x).log_prob.shape == (0,)
    assert model().log_prob_bound(x, 3, torch.Generator()).shape == (0,)
    assert model.reconstruct(x).shape == x.shape


def test_shapes():
    model = make()
    assert model().log_prob_bound(torch.zeros(5, 2, 4).long(), samples=3).shape == (5, 2)
    wide = model().expand((2,))
    assert wide.batch_shape == (2,)
    assert wide.log_prob_bound(torch.zeros(5, 2, 4).long()).shape == (5, 2)
    assert wide.sample((3,)).shape == (3, 2, 4)
    assert model().log_prob_bound(torch.zeros(4).long()).shape == ()


def test_samples_are_categories():
    model = make()
    x = model().sample((500,))
    assert x.dtype == torch.int64
    assert model().support.check(x).all()
    assert set(x.unique().tolist()) == {0, 1, 2}


@pytest.mark.parametrize("noise", ["uniform", "variational"])
def test_noise_does_not_depend_on_type_or_batching(noise):
    model, x = make(noise), rows(9)
    whole, halves, double = (torch.Generator().manual_seed(5) for _ in range(3))
    expected = model().log_prob_bound(x, 3, whole)
    parts = [model().log_prob_bound(part, 3, halves) for part in x.split(4)]
    torch.testing.assert_close(torch.cat(parts), expected)
    other = copy.deepcopy(model).double()().log_prob_bound(x, 3, double)
    torch.testing.assert_close(other.float(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise", ["uniform", "variational"])
def test_gradients_reach_every_parameter(noise):
    def without_inverse():
        model = make(noise)
        model.flow.layers[0].log_det = "exact"
        return model

    check_objective(NegativeLikelihoodBound(samples=2), without_inverse, Batch(rows()))


def test_variational_noise_starts_uniform_and_knows_its_density():
    noise = VariationalNoise((1, 2, 2), 3, steps=2, width=4).double()
    x = torch.randint(3, (5, 4)).double()
    _, log_q = noise(x)
    torch.testing.assert_close(log_q, torch.zeros_like(log_q), rtol=0, atol=1e-5)
    shaken(noise)
    x = x[:1].expand(100_000, -1)
    u, log_q = noise(x)
    assert u.min() >= 0
    assert u.max() <= 1
    assert log_q.std() > 0.1
    # E 1/q(u) is the volume of the cube.
    weights = (-log_q).exp()
    assert abs(weights.mean() - 1) < 4 * weights.std() / math.sqrt(len(weights))
    assert noise(x[:3].reshape(3, 1, 2, 2))[0].shape == (3, 1, 2, 2)


def test_noise_rounds_to_no_other_category():
    """In float32, 255 + u is 256 for every u above 1 - 2^-17."""

    class NearlyOne(DequantizationNoise):
        def forward(self, x, generator=None):
            return torch.full_like(x, 1 - 2**-24), x.new_zeros(len(x))

    model = Dequantized(make_flow(4, 256), 256, NearlyOne())
    x = torch.tensor([[0, 1, 200, 255]])
    y, _ = model.dequantize(x)
    assert y.dtype == torch.float32
    assert torch.equal(y.floor().long(), x)
    assert model().log_prob_bound(x).isfinite().all()


def test_the_surrogate_has_the_gradient_of_the_bound():
    model, x = make("variational"), rows()
    model.synchronize()
    gradients = []
    for loss in (
        lambda: -model().log_prob_bound(x).mean(),
        lambda: -model.surrogate_log_prob(x, options=SurrogateOptions(None))[0].mean(),
    ):
        model.zero_grad()
        torch.manual_seed(3)
        loss().backward()
        gradients.append([p.grad for n, p in model.named_parameters() if "inverse_weight" not in n])
    for bound, surrogate in zip(*gradients, strict=True):
        torch.testing.assert_close(surrogate, bound, rtol=1e-4, atol=1e-6)


def test_training_by_either_objective_lowers_the_loss():
    x = torch.randint(3, (200, 1)) // 2 + torch.zeros(200, 4, dtype=torch.int64)
    for objective in (NegativeLikelihoodBound(), SelfNormalizingLikelihood()):
        torch.manual_seed(0)
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        before = model().log_prob_bound(x).mean()
        for _ in range(60):
            optimizer.zero_grad()
            objective(model, Batch(x)).value.backward()
            optimizer.step()
        assert model().log_prob_bound(x).mean() > before + 0.5


def test_initialization_sees_noisy_rows_and_refuses_others():
    flow = Flow([ActNorm(4)], 4, preprocessing=[PixelLogits(17)])
    model = Dequantized(flow, 17)
    x = rows(300, categories=17)
    model.initialize(x)
    z, _ = flow.encode(model.dequantize(x)[0])
    assert z.mean(0).abs().max() < 0.05
    with pytest.raises(ValueError, match=r"values must be in 0 .. 16, got 0 .. 20"):
        model.initialize(torch.tensor([[0, 20, 3, 4]]))


def test_reconstruction_is_in_units_of_the_rows():
    model, x = make(), rows()
    model.synchronize()
    for method in ("exact", "approximate"):
        torch.testing.assert_close(model.reconstruct(x, method=method), x.float(), rtol=0, atol=1e-4)
    z = torch.randn(3, 4)
    assert torch.equal(model.inverse(z), model.flow.inverse(z))
    assert torch.equal(model.approximate_inverse(z), model.flow.inverse(z, method="approximate"))


@pytest.mark.parametrize("noise", ["uniform", "variational"])
def test_a_distribution_keeps_its_parameters(noise):
    model, x = make(noise), rows()

    def bound(distribution):
        return distribution.log_prob_bound(x, 2, torch.Generator().manual_seed(0))

    distribution = model()
    expected = bound(distribution)
    for other in (
        copy.deepcopy(model)(),
        pickle.loads(pickle.dumps(model))(),
        pickle.loads(pickle.dumps(distribution)),
    ):
        assert torch.equal(bound(other), expected)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    assert torch.equal(bound(distribution), expected)
    assert not torch.equal(bound(model()), expected)


@pytest.mark.parametrize("call", ["log_prob", "unnormalized_log_prob"])
def test_the_likelihood_is_intractable(call):
    with pytest.raises(IntractableError, match="log_prob_bound"):
        getattr(make()(), call)(rows())
    with pytest.raises(IntractableError, match="log_prob_bound"):
        make()().log_partition  # noqa: B018


ERRORS = {
    "floats": (lambda: make()().log_prob_bound(torch.zeros(2, 4)), "models integers, got values of type torch.float32"),
    "floats, surrogate": (lambda: make().surrogate_log_prob(torch.zeros(2, 4)), "models integers"),
    "event": (lambda: make()().log_prob_bound(torch.zeros(2, 5).long()), r"event shape \(4,\), got \(2, 5\)"),
    "samples": (lambda: make()().log_prob_bound(rows(), samples=0), "samples must be at least 1"),
    "categories": (lambda: Dequantized(make_flow(), 0), "categories must be at least 1"),
    "steps": (lambda: VariationalNoise((1, 2, 2), 3, steps=0), "steps >= 1"),
    "odd sides": (lambda: VariationalNoise((1, 3, 2), 3), "multiples of 2"),
    "no bound": (
        lambda: NegativeLikelihoodBound()(make_flow(), Batch(torch.zeros(2, 4))),
        "Flow has no log_prob_bound",
    ),
    "objective": (lambda: NegativeLikelihoodBound(0), "samples must be at least 1"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_expected(case):
    call, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        call()
