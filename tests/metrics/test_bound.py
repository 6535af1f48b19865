"""The bound on the likelihood as a metric: the same noise for every model, and bits per dimension."""

from __future__ import annotations

import math

import pytest
import torch

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.flows import ConditionalNormal, Flow, SelfNormalizingLinear
from logprob.flows.dequantization import Dequantized
from logprob.flows.preprocessing import PixelLogits
from logprob.metrics.bound import LikelihoodBound

ROWS = torch.randint(17, (50, 6), generator=torch.Generator().manual_seed(3))


def make(**options):
    flow = Flow([SelfNormalizingLinear(6, init="identity-noise")], 6, preprocessing=[PixelLogits(17)], **options)
    return Dequantized(flow, 17)


def test_bits_per_dim_by_an_independent_formula():
    """The mean over the rows of minus log2 of the density of dequantised pixels, by hand, over D."""
    model = make().double()
    layer = model.flow.layers[0]
    got = LikelihoodBound(draws=2, seed=7)(model, Batch(ROWS))
    generator = torch.Generator().manual_seed(7)
    total = 0.0
    for _ in range(2):
        y = ROWS + torch.rand(ROWS.shape, generator=generator, dtype=torch.float64)
        y = (y / 17 + 1e-6) * (1 - 2e-6)
        z = torch.logit(y) @ layer.weight.T + layer.bias
        log_p = -(z**2).sum(1) / 2 - 3 * math.log(2 * math.pi) + layer.weight.det().abs().log()
        log_p = log_p - (y * (1 - y)).log().sum(1) + 6 * math.log((1 - 2e-6) / 17)
        total += log_p.mean().item() / 2
    assert got["log_likelihood_bound"] == pytest.approx(total, rel=1e-10)
    assert got["bits_per_dim"] == pytest.approx(-total / 6 / math.log(2), rel=1e-10)
    assert got["bits_per_dim"] > 0
    assert got["log_likelihood_bound_se"] > 0


def test_the_noise_is_that_of_the_seed_alone():
    model = make()
    values = [
        LikelihoodBound(samples=3, draws=2, batch_size=size)(model.to(dtype), Batch(ROWS))["log_likelihood_bound"]
        for size, dtype in ((1024, torch.float32), (7, torch.float32), (1, torch.float32), (1024, torch.float64))
    ]
    assert values == pytest.approx([values[0]] * 4, rel=1e-5)
    torch.rand(5)
    assert LikelihoodBound(samples=3, draws=2)(model, Batch(ROWS))["log_likelihood_bound"] == values[3]
    assert LikelihoodBound(samples=3, draws=2, seed=1)(model, Batch(ROWS))["log_likelihood_bound"] != values[3]


def test_global_randomness_and_gradients_are_left_alone():
    state = torch.get_rng_state()
    LikelihoodBound()(make(), Batch(ROWS))  # making the model draws, evaluating it does not
    torch.set_rng_state(state)
    model = make()
    after = torch.get_rng_state()
    LikelihoodBound()(model, Batch(ROWS))
    assert torch.equal(torch.get_rng_state(), after)
    assert all(p.grad is None for p in model.parameters())


def test_more_samples_give_a_better_bound():
    model = make()
    one, many = (LikelihoodBound(samples=s, draws=4)(model, Batch(ROWS))["log_likelihood_bound"] for s in (1, 50))
    assert many > one


def test_a_conditional_model_sees_its_context():
    model, context = make(base=ConditionalNormal(6, torch.nn.Linear(2, 12))), torch.randn(50, 2)
    whole, parts = (LikelihoodBound(batch_size=s)(model, Batch(ROWS, context)) for s in (1024, 8))
    assert whole["log_likelihood_bound"] == pytest.approx(parts["log_likelihood_bound"], rel=1e-5)
    other = LikelihoodBound()(model, Batch(ROWS, -context))
    assert other["log_likelihood_bound"] != pytest.approx(whole["log_likelihood_bound"], rel=1e-3)


def test_one_row_has_no_standard_error():
    assert math.isnan(LikelihoodBound()(make(), Batch(ROWS[:1]))["log_likelihood_bound_se"])


class Exact(DistributionModule):
    def forward(self, context=None):
        return torch.distributions.Normal(0.0, 1.0)


ERRORS = {
    "samples": (lambda: LikelihoodBound(samples=0), "samples must be at least 1"),
    "draws": (lambda: LikelihoodBound(draws=0), "draws must be at least 1"),
    "batch_size": (lambda: LikelihoodBound(batch_size=0), "batch_size must be at least 1"),
    "no bound": (lambda: LikelihoodBound()(Exact(), Batch(ROWS)), "Exact has no log_prob_bound.*LogLikelihood"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_expected(case):
    call, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        call()
