"""Concrete and ExpConcrete beside golden files, torch and samples.

Statistical checks have a fixed seed; each bound is exceeded with a probability below 1e-4 by a correct law.
"""

from __future__ import annotations

import golden_simplex
import pytest
import torch
from scipy import stats
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import RelaxedBernoulli, RelaxedOneHotCategorical
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

from logprob.distributions import IntractableError
from logprob.simplex.concrete import Concrete, ExpConcrete
from logprob.simplex.gumbel_noise import gumbel, gumbel_given
from logprob.simplex.invertible_gaussian import InvertibleGaussian

F64 = torch.float64
GOLDEN = golden_simplex.load("concrete")
laws = pytest.mark.parametrize("make", [Concrete, ExpConcrete])


@pytest.mark.parametrize("index", range(3))
def test_golden_samples_and_densities(index):
    temperature = GOLDEN["temperatures"][index].item()
    simplex, logarithmic = (make(temperature, GOLDEN["logits"]) for make in (Concrete, ExpConcrete))
    noise = -(-GOLDEN["uniform"].log()).log()
    psi = torch.softmax(simplex.scores(noise) / temperature, -1)
    exact = {"atol": 1e-9, "rtol": 0}
    torch.testing.assert_close(psi, GOLDEN["psi"][index], **exact)
    log_psi = GOLDEN["log_psi"][index]
    torch.testing.assert_close(logarithmic.log_prob(log_psi), GOLDEN["exp_concrete_log_prob"][index], **exact)
    torch.testing.assert_close(simplex.log_prob_of_ratios(log_psi), GOLDEN["exp_concrete_log_prob"][index], **exact)
    torch.testing.assert_close(simplex.log_prob(psi), GOLDEN["concrete_log_prob"][index], **exact)
    prior = ExpConcrete(0.5, torch.zeros(5, dtype=F64))
    ratio = logarithmic.log_ratio(prior, log_psi).sum(-1)  # (S, B)
    torch.testing.assert_close(ratio.T, GOLDEN["kl_one_sample_prior_half"][index], **exact)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_densities_equal_those_of_torch(temperature):
    logits = torch.randn(4, 6, dtype=F64)
    tau = torch.tensor(temperature, dtype=F64)
    psi = Concrete(tau, logits).sample((7,))
    expected = RelaxedOneHotCategorical(tau, logits=logits, validate_args=False).log_prob(psi)
    torch.testing.assert_close(Concrete(tau, logits).log_prob(psi), expected)
    torch.testing.assert_close(Concrete(tau, probs=logits.exp()).log_prob(psi), expected)
    expected = ExpRelaxedCategorical(tau, logits=logits, validate_args=False).log_prob(psi.log())
    torch.testing.assert_close(ExpConcrete(tau, logits).log_prob(psi.log()), expected)


def test_two_categories_are_a_relaxed_bernoulli():
    logits = torch.randn(5, 2, dtype=F64)
    x = torch.rand(5, dtype=F64)
    expected = RelaxedBernoulli(torch.tensor(0.4, dtype=F64), logits=logits[:, 0] - logits[:, 1]).log_prob(x)
    torch.testing.assert_close(Concrete(0.4, logits).log_prob(torch.stack([x, 1 - x], -1)), expected)


@pytest.mark.parametrize("temperature", [0.5, 0.1, 0.05, 0.01])
@laws
def test_own_samples_have_finite_densities_and_gradients_at_low_temperature(make, temperature):
    logits = (3 * torch.randn(1000, 10)).requires_grad_()
    q, p = make(temperature, logits), make(0.5, torch.zeros(10))
    for draw in (q.rsample, q.sample):
        value = draw()
        for result in (q.log_prob(value), q.log_ratio(p, value), q.log_ratio(p, value, stick_the_landing=True)):
            assert result.isfinite().all()
            assert torch.autograd.grad(result.sum(), logits, retain_graph=True)[0].isfinite().all()


@laws
def test_own_samples_have_the_density_of_their_values(make):
    logits = torch.randn(3, 5, dtype=F64, requires_grad=True)
    temperature = torch.tensor(0.7, dtype=F64, requires_grad=True)
    q = make(temperature, logits)
    for value in (q.rsample((20,)), q.sample((20,))):
        got, expected = (q.log_prob(x) for x in (value, value.clone()))
        torch.testing.assert_close(got, expected)
        got, expected = (
            torch.autograd.grad(q.log_prob(x).sum(), (logits, temperature), retain_graph=True)
            for x in (value, value.clone())
        )
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-7)
        q.sample()


def test_values_with_zeros_have_no_density():
    q = Concrete(0.5, torch.zeros(3), validate_args=False)
    value = torch.tensor([[1.0, 0, 0], [0.2, 0.3, 0.5]], requires_grad=True)
    assert q.log_prob(value).isfinite().tolist() == [False, True]
    assert torch.autograd.grad(q.log_prob(value)[1], value)[0].isfinite().all()
    assert q.log_prob(torch.full((3,), torch.nan)).isnan()


@laws
def test_temperatures_of_the_batch_line_up(make):
    logits, taus = torch.randn(5, 3, dtype=F64), torch.rand(5, dtype=F64) + 0.5
    value = torch.log_softmax(torch.randn(3, dtype=F64), -1)
    value = value if make is ExpConcrete else value.exp()
    each = torch.stack([make(taus[i], logits[i]).log_prob(value) for i in range(5)])
    for temperature in (taus, taus.unsqueeze(-1)):
        q = make(temperature, logits)
        assert q.log_prob(value).shape == (5,)
        torch.testing.assert_close(q.log_prob(value), each)
        assert q.rsample((2,)).shape == (2, 5, 3)


@laws
def test_gradients(make):
    logits, temperature = torch.randn(2, 4, dtype=F64), torch.tensor([0.6, 1.2], dtype=F64)

    def draw(temperature, logits):
        torch.manual_seed(0)
        return make(temperature, logits).rsample((3,))

    def density(temperature, logits, value):
        return make(temperature, logits, validate_args=False).log_prob(value)

    arguments = [x.requires_grad_() for x in (temperature, logits)]
    value = torch.log_softmax(0.3 * torch.randn(3, 2, 4, dtype=F64), -1)
    value = (value if make is ExpConcrete else value.exp()).requires_grad_()
    assert gradcheck(draw, arguments)
    assert gradgradcheck(draw, arguments)
    assert gradcheck(density, (*arguments, value))


def test_the_law_of_the_category():
    logits = torch.randn(4, 5)
    q = Concrete(0.3, logits)
    torch.testing.assert_close(q.logits, torch.log_softmax(logits, -1))
    torch.testing.assert_close(Concrete(0.3, probs=3 * q.probs).logits, q.logits)
    frequencies = torch.nn.functional.one_hot(q.sample((40_000,)).argmax(-1), 5).float().mean(0)
    assert ((frequencies - q.probs).abs() < 4.5 * (q.probs * (1 - q.probs) / 40_000).sqrt()).all()
    assert torch.equal(q.mode.argmax(-1), logits.argmax(-1))


@laws
def test_straight_through_is_one_hot(make):
    logits = torch.randn(5, 3, requires_grad=True)
    q = make(0.5, logits)
    hard = q.straight_through((4,))
    assert hard.sum(-1).eq(1).all()
    assert hard.amax(-1).eq(1).all()
    torch.manual_seed(1)
    hard = make(0.5, logits).straight_through()
    torch.manual_seed(1)
    soft = Concrete(0.5, logits).rsample()
    weights = torch.randn(3)
    torch.testing.assert_close(*(torch.autograd.grad((z * weights).sum(), logits)[0] for z in (hard, soft)))


def test_gumbel_noise():
    for dtype in (torch.float32, F64):
        noise = gumbel((200_000,), torch.zeros((), dtype=dtype))
        assert noise.isfinite().all()
        assert stats.kstest(noise.numpy(), "gumbel_r").pvalue > 1e-4


def test_noise_given_its_category_has_the_law_of_noise():
    q = Concrete(0.5, torch.tensor([0.5, -1.0, 1.5, 0.0]))
    category = q.to_categorical().sample((20_000,))
    noise = q.noise_given(category)
    assert torch.equal(q.scores(noise).argmax(-1), category.argmax(-1))
    for k in range(4):
        assert stats.kstest(noise[:, k].numpy(), "gumbel_r").pvalue > 1e-4
    correlation = torch.corrcoef(noise.T)[~torch.eye(4, dtype=torch.bool)]
    assert correlation.abs().max() < 4.7 / 20_000**0.5
    far = Concrete(0.5, torch.tensor([0.0, -200.0, 50.0]))
    noise = far.noise_given(torch.eye(3))
    assert noise.isfinite().all()
    assert torch.equal(far.scores(noise).argmax(-1), torch.arange(3))


def test_noise_given_its_category_is_differentiable():
    category = torch.eye(4, dtype=F64)

    def noise(logits):
        torch.manual_seed(3)
        return gumbel_given(logits.log_softmax(-1), category)

    logits = torch.randn(4, dtype=F64, requires_grad=True)
    assert gradcheck(noise, logits)
    assert gradgradcheck(noise, logits)


def test_ratios_to_other_laws():
    q = Concrete(0.5, torch.randn(3, 5, dtype=F64))
    psi = q.rsample((20,))
    for p in (Concrete(0.7, torch.zeros(5, dtype=F64)), InvertibleGaussian.uniform(5, temperature=0.5)):
        torch.testing.assert_close(q.log_ratio(p, psi), q.log_prob(psi) - p.log_prob(psi.clone()), rtol=1e-4, atol=1e-4)
    gaussian = InvertibleGaussian(torch.zeros(4, dtype=F64), 0.0, 0.5)
    psi = gaussian.rsample((20,))
    expected = gaussian.log_prob(psi) - q.expand((3,)).log_prob(psi.unsqueeze(1)).T
    torch.testing.assert_close(gaussian.log_ratio(q, psi.unsqueeze(1)).T, expected)


def test_sticking_the_landing_leaves_the_score_out():
    logits = torch.randn(5, dtype=F64, requires_grad=True)
    q, p = Concrete(0.5, logits), Concrete(0.7, torch.zeros(5, dtype=F64))
    psi = q.rsample()
    full = torch.autograd.grad(q.log_ratio(p, psi), logits, retain_graph=True)[0]
    score = torch.autograd.grad(q.log_prob(psi.detach()), logits)[0]
    got = torch.autograd.grad(q.log_ratio(p, psi, stick_the_landing=True), logits)[0]
    torch.testing.assert_close(got, full - score)


@laws
def test_half_precision_and_empty_batches(make):
    for dtype in (torch.float16, torch.bfloat16):
        q = make(0.05, torch.randn(50, 10, dtype=dtype))
        value = q.rsample()
        assert (value.dtype, q.log_prob(value).dtype) == (dtype, torch.float32)
        assert q.log_prob(value).isfinite().all()
    q = make(0.5, torch.zeros(0, 4))
    assert q.log_prob(q.rsample((2,))).shape == (2, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of logits and probs, got neither"),
        ({"logits": torch.zeros(2), "probs": torch.ones(2)}, "got both"),
        ({"logits": torch.zeros(1)}, r"K >= 2, got \(1,\)"),
        ({"logits": torch.zeros(())}, "K >= 2"),
        ({"logits": torch.tensor([0.0, torch.inf])}, "logits to be finite, got inf"),
        ({"probs": torch.tensor([0.5, -0.25])}, "probs to be positive and finite, got -0.25"),
        ({"logits": torch.zeros(2), "temperature": -1.0}, "temperature to be positive and finite, got -1"),
    ],
)
@laws
def test_wrong_arguments_are_named_with_their_value(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**{"temperature": 1.0, **options}, validate_args=True)


@laws
def test_wrong_values_are_named(make):
    with pytest.raises(ValueError, match=r"simplex, got \[0.5, 0.25"):
        make(1.0, torch.zeros(2), validate_args=True).log_prob(torch.tensor([0.5, 0.25]))
    with pytest.raises(IntractableError, match="average rsample"):
        make(1.0, torch.zeros(2)).mean  # noqa: B018
