"""Stochastic layers: bounds against all states of the units, laws of units, how they are drawn."""

from __future__ import annotations

import itertools
import math

import golden_simplex
import pytest
import torch
from torch import nn
from torch.distributions import Normal

from logprob.batch import Batch
from logprob.distributions import IntractableError
from logprob.gradients.reparameterized import Reparameterized
from logprob.gradients.straight_through import StraightThroughRelaxed
from logprob.metrics import LikelihoodBound
from logprob.objectives import NegativeLikelihoodBound
from logprob.simplex.binary_units import ConcreteUnits, GaussianUnits, PlanarUnits, StickUnits, unit_values
from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.stick_breaking import LogStickBreaking
from logprob.simplex.stochastic_layers import StochasticNetwork

UNITS = {"concrete": ConcreteUnits, "gaussian": GaussianUnits, "planar": PlanarUnits, "sticks": StickUnits}


def tiny(units, **options):
    """Two inputs, two layers of two units, three output pixels; weights large enough that everything matters."""
    model = StochasticNetwork(3, units, inputs=2, width=2, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model.double()


def unit_probs(law, numbers):
    """Probability of the value 1, in another way than by drawing."""
    if isinstance(law, ConcreteUnits):
        return torch.sigmoid(numbers)
    if isinstance(law, PlanarUnits):  # a monotone map: where does it cross zero?
        root = law.flow().inv(torch.zeros(*numbers.shape, 1, dtype=numbers.dtype)).squeeze(-1)
        return Normal(0.0, 1.0).cdf(numbers - root)
    return Normal(0.0, 1.0).cdf(numbers)


def exact_log_prob(model, context, x):
    """Sum over the states of all layers of rounded units."""
    states = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=2)), dtype=torch.float64)

    def log_prob_of(law, numbers, state):
        p = unit_probs(law, numbers)
        return torch.where(state > 0, p, 1 - p).log().sum(-1)

    total = []
    for first, second in itertools.product(states, states):
        log_p = log_prob_of(model.laws[0], model.maps[0](context), first.expand(len(context), -1))
        log_p = log_p + log_prob_of(model.laws[1], model.maps[1](first), second)
        total.append(log_p + model.likelihood(model.output(second), x))
    return torch.stack(total).logsumexp(0)


@pytest.mark.parametrize("name", UNITS)
def test_the_bound_against_all_states_of_the_units(name):
    """Its exponential has the mean p(x | c), and it lies below; 4 standard errors, 8 numbers: false alarms 3e-4."""
    model = tiny(UNITS[name], hidden=(2,)).eval()
    context, x = torch.randn(2, 2).double(), torch.tensor([[0.0, 1, 1], [1, 0, 1]]).double()
    with torch.no_grad():
        exact = exact_log_prob(model, context, x)
        draws = 20_000
        many = [part.repeat_interleave(draws, 0) for part in (context, x)]
        bounds = model(many[0]).log_prob_bound(many[1]).reshape(2, draws)
    for values, upper in ((bounds.exp(), exact.exp()), (bounds, exact)):
        error = values.std(-1) / math.sqrt(draws)
        assert (values.mean(-1) <= upper + 4 * error).all()
    assert (bounds.exp().mean(-1) >= exact.exp() - 4 * (bounds.exp().std(-1) / math.sqrt(draws))).all()
    with torch.no_grad():
        assert (model(context).log_prob_bound(x, samples=100_000) - exact).abs().max() < 0.05


@pytest.mark.parametrize("name", UNITS)
def test_the_mean_prediction_against_all_states(name):
    model = tiny(UNITS[name]).eval()
    context = torch.randn(1, 2).double()
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    with torch.no_grad():
        probs = exact_log_prob(model, context.expand(8, -1), images).exp()
    assert probs.sum().item() == pytest.approx(1, abs=1e-12)
    distribution = model(context)
    assert distribution.predict(40_000)[0] == pytest.approx(probs @ images, abs=0.012)  # 4.8 standard errors
    assert distribution.sample((40_000,)).mean(0)[0] == pytest.approx(probs @ images, abs=0.012)


def test_the_multisample_loss_of_the_published_code():
    golden = golden_simplex.load("objectives")
    logits, x = golden["logits"].flatten(2), golden["x_binary"].flatten(1)  # (S, 3, 30), (3, 30)
    model = StochasticNetwork(30, ConcreteUnits, inputs=2, width=2).double()
    model.output = Constant(logits)
    loss = NegativeLikelihoodBound(samples=len(logits))(model, Batch(x, torch.zeros(3, 2).double()))
    assert loss.value.item() == pytest.approx(golden["multisample_loss"].item(), abs=1e-10)


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("temperature", [1.0, 0.15])
def test_a_unit_takes_both_values_with_the_right_probability(name, temperature):
    """4 standard errors of 20 000 draws of each of 5 units, 8 cases: a false alarm in 400 seeds."""
    law = UNITS[name](5, temperature)
    if name == "planar":
        with torch.no_grad():
            for parameter in law.parameters():
                parameter.normal_()
    numbers = torch.linspace(-1.5, 1.5, 5)
    with torch.no_grad():
        values = unit_values(law(numbers).rsample((20_000,)))
        probs = unit_probs(law, numbers)
    assert (values.abs() <= 1).all()
    share = (values > 0).float().mean(0)
    assert ((share - probs).abs() <= 4 * (probs * (1 - probs) / 20_000).sqrt() + 1e-6).all()


def test_logits_of_gaussian_units_are_divided_by_the_temperature():
    law, numbers = GaussianUnits(3, temperature=0.25)(torch.tensor([-1.0, 0.0, 2.0])), torch.tensor([-1.0, 0.0, 2.0])
    torch.manual_seed(1)
    values = unit_values(law.rsample())
    torch.manual_seed(1)
    noise = law.draw_noise().squeeze(-1)
    assert torch.allclose(values, torch.tanh((numbers + noise) / 0.5), atol=1e-6)


def test_sticks_stay_within_their_range():
    for temperature in (1.0, 0.15):
        values = unit_values(StickUnits(1000, temperature)(torch.linspace(-4, 4, 1000)).sample((50,)))
        assert values.abs().max() <= math.tanh(1 / (4 * temperature)) + 1e-6
        assert values.min() < -0.9 * math.tanh(1 / (4 * temperature))


def test_one_stick_in_logarithms_is_the_gaussian_unit():
    numbers = torch.randn(4, 3)
    one = GaussianUnits(3, 0.3)(numbers)
    other = InvertibleGaussian(numbers[..., None], torch.zeros(4, 3, 1), 0.3, transform=LogStickBreaking())
    samples = []
    for law in (one, other):
        torch.manual_seed(2)
        samples.append(law.sample((50,)))
    assert torch.allclose(*samples, atol=1e-7)


@pytest.mark.parametrize("name", UNITS)
def test_units_are_relaxed_in_training_and_rounded_in_evaluation(name):
    model = tiny(UNITS[name])
    seen = []
    model.output.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    context, x = torch.randn(4, 2).double(), torch.bernoulli(torch.full((4, 3), 0.5)).double()
    model(context).log_prob_bound(x, 5).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    model.eval()
    model(context).log_prob_bound(x, 5)
    model.given(context, Reparameterized()).log_prob_bound(x, 5)
    relaxed, hard, asked = seen
    assert relaxed.shape == (5, 4, 2)
    assert ((hard == 1) | (hard == -1)).all()
    assert ((relaxed.abs() < 1) & (asked.abs() < 1)).all()


def test_a_straight_through_gradient_trains_rounded_units():
    model = tiny(ConcreteUnits, gradient=StraightThroughRelaxed())
    seen = []
    model.output.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    model(torch.randn(4, 2).double()).log_prob_bound(torch.ones(4, 3), 3).sum().backward()
    assert torch.allclose(seen[0].abs(), torch.ones(3, 4, 2).double())
    assert model.maps[0][0].weight.grad.abs().max() > 0


def test_draws_of_a_generator():
    model, context, x = tiny(GaussianUnits).eval(), torch.randn(4, 2).double(), torch.ones(4, 3)
    before = torch.random.get_rng_state()
    bounds = [model(context).log_prob_bound(x, 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(bounds[0], bounds[1])
    assert not torch.equal(bounds[0], bounds[2])
    assert torch.equal(before, torch.random.get_rng_state())
    numbers = LikelihoodBound(samples=3)(model, Batch(x, context))
    assert numbers == LikelihoodBound(samples=3)(model, Batch(x, context))


def test_the_three_architectures():
    shapes = {}
    for name, options in {"double": {}, "triple": {"layers": 3}, "nonlinear": {"hidden": (240,)}}.items():
        model = StochasticNetwork(392, ConcreteUnits, **options)
        shapes[name] = [tuple(p.shape) for n, p in model.named_parameters() if n.endswith("weight")]
    assert shapes["double"] == [(240, 392), (240, 240), (392, 240)]
    assert shapes["triple"] == [(240, 392), (240, 240), (240, 240), (392, 240)]
    assert shapes["nonlinear"] == [(240, 392), (240, 240), (240, 240), (240, 240), (392, 240)]


def test_shapes_and_what_is_refused():
    model = tiny(ConcreteUnits)
    distribution = model(torch.randn(4, 2))
    assert distribution.batch_shape == (4,)
    assert distribution.event_shape == (3,)
    assert distribution.sample((7,)).shape == distribution.sample_mean((7,)).shape == (7, 4, 3)
    assert model(torch.randn(2)).expand((5,)).log_prob_bound(torch.ones(5, 3)).shape == (5,)
    with pytest.raises(IntractableError, match="log_prob_bound"):
        distribution.log_prob(torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"expected values \(4, 3\), got \(5, 3\)"):
        distribution.log_prob_bound(torch.ones(5, 3))
    with pytest.raises(ValueError, match="samples"):
        distribution.log_prob_bound(torch.ones(4, 3), samples=0)
    for context, got in ((None, "none"), (torch.ones(4, 5), "one of width 5")):
        with pytest.raises(ValueError, match=f"context of width 2, got {got}"):
            model(context)
    with pytest.raises(ValueError, match="layers"):
        StochasticNetwork(3, ConcreteUnits, layers=0)
    with pytest.raises(ValueError, match="temperature"):
        ConcreteUnits(3, temperature=0.0)
    with pytest.raises(ValueError, match=r"0\.006"):
        StickUnits(3, temperature=0.005)
