"""Kumaraswamy variables beside torch's own, quadrature, the usual series, and Beta variables."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from scipy.special import betaln
from torch.distributions import Beta, kl_divergence

from logprob.simplex.kumaraswamy import Kumaraswamy

DOUBLE = torch.float64
GRID = list(itertools.product((0.05, 0.4, 1.0, 2.5, 20.0), repeat=2))


def law(a, b, dtype=DOUBLE):
    return Kumaraswamy(torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype))


def over_time(a, b, function):
    """``E function(log v, log(1 - v))`` over the exponential variable, by Gauss-Legendre rules on unit panels."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    t = (np.arange(-80, 4)[:, None] + (nodes + 1) / 2).ravel()
    time = np.exp(t)
    x = time / b
    log_v = np.where(x < 0.7, np.log(-np.expm1(-np.minimum(x, 0.7))), np.log1p(-np.exp(-np.maximum(x, 0.7)))) / a
    log_rest = np.log(-np.expm1(np.where(x < 30, log_v, -1.0)))
    log_rest = np.where(x < 30, log_rest, -x - np.log(a))
    return np.sum(function(log_v, log_rest) * np.exp(t - time) * np.tile(weights / 2, 84))


@pytest.mark.parametrize(("a", "b"), GRID)
def test_moments_of_logarithms(a, b):
    q = law(a, b)
    log_rest = over_time(a, b, lambda _, log_rest: log_rest)
    assert q.mean_log_rest.item() == pytest.approx(log_rest, rel=1e-9, abs=1e-10)
    assert q.mean_log.item() == pytest.approx(over_time(a, b, lambda log_v, _: log_v), rel=1e-9, abs=1e-10)
    assert q.mean.item() == pytest.approx(over_time(a, b, lambda log_v, _: np.exp(log_v)), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize(("a", "b"), [(0.5, 3.0), (2.0, 1.5), (1.0, 4.0)])
def test_the_series_ends_where_the_integral_is(a, b):
    terms, m = 200_000, np.arange(1, 200_001)
    series = -b * np.sum(np.exp(betaln(m / a, b)) / (m + a * b))
    left = 10 * terms ** -min(b, 1.5) * max(1.0, a**b)
    assert law(a, b).mean_log_rest.item() == pytest.approx(series, abs=left)


@pytest.mark.parametrize(("a", "b"), [(0.4, 2.5), (2.5, 0.4), (3.0, 7.0)])
def test_divergence_from_a_beta_law(a, b):
    """Within 4.5 standard errors of 100 000 samples; alarms 1 in 10^5."""
    for alpha in (0.5, 1.0, 5.0):
        q, p = law(a, b), Beta(torch.tensor(1.0, dtype=DOUBLE), torch.tensor(alpha, dtype=DOUBLE))
        y = q.rsample_logits((100_000,))
        log_p = p.concentration0.log() + (p.concentration0 - 1) * torch.nn.functional.logsigmoid(-y)
        log_p = log_p + torch.nn.functional.logsigmoid(y) + torch.nn.functional.logsigmoid(-y)
        ratio = q.log_prob_logits(y) - log_p
        assert abs(ratio.mean() - kl_divergence(q, p)) < 4.5 * ratio.std() / 100_000**0.5


def test_divergences_of_laws_that_are_beta_laws():
    for b, alpha in itertools.product((0.3, 1.0, 4.0), repeat=2):
        q, p = (Beta(torch.tensor(1.0, dtype=DOUBLE), torch.tensor(x, dtype=DOUBLE)) for x in (b, alpha))
        torch.testing.assert_close(kl_divergence(law(1.0, b), p), kl_divergence(q, p), rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(law(1.0, b).entropy(), q.entropy(), rtol=1e-10, atol=1e-11)
    q, p = (Beta(torch.tensor(x, dtype=DOUBLE), torch.tensor(y, dtype=DOUBLE)) for x, y in ((2.5, 1.0), (0.7, 3.0)))
    torch.testing.assert_close(kl_divergence(law(2.5, 1.0), p), kl_divergence(q, p), rtol=1e-10, atol=1e-11)


def test_agrees_with_torch():
    """Which side is which: torch calls a ``concentration1``."""
    a, b, v = (
        torch.tensor(2.0, dtype=DOUBLE),
        torch.tensor(5.0, dtype=DOUBLE),
        torch.linspace(0.01, 0.99, 50, dtype=DOUBLE),
    )
    ours, theirs = Kumaraswamy(a, b), torch.distributions.Kumaraswamy(a, b)
    torch.testing.assert_close(ours.log_prob(v), theirs.log_prob(v), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.cdf(v), theirs.cdf(v), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.icdf(ours.cdf(v)), v)
    torch.testing.assert_close((ours.mean, ours.variance), (theirs.mean, theirs.variance))


def test_mode_is_where_the_density_is_largest():
    v = torch.linspace(0.001, 0.999, 999, dtype=DOUBLE)
    for a, b in ((2.0, 5.0), (4.0, 1.5)):
        assert abs(law(a, b).mode - v[law(a, b).log_prob(v).argmax()]) < 1e-3
    assert law(0.5, 2.0).mode.isnan()


def test_density_of_logits():
    y = torch.linspace(-300, 300, 600_001, dtype=DOUBLE)
    for a, b in ((0.5, 0.5), (2.0, 5.0), (0.1, 3.0)):
        log_prob = law(a, b).log_prob_logits(y)
        assert log_prob.isfinite().all()
        assert (log_prob.exp().sum() * 1e-3).item() == pytest.approx(1, abs=1e-6)
    v = y[300_000 - 5000 : 300_000 + 5000].sigmoid()
    expected = law(2.0, 5.0).log_prob(v) + v.log() + (1 - v).log()
    torch.testing.assert_close(law(2.0, 5.0).log_prob_logits(v.logit()), expected, rtol=1e-9, atol=1e-9)


def test_samples_have_the_distribution():
    """Largest gap between the distribution functions of 20 000 samples: above 0.018 once in 10^5 draws."""
    for a, b in ((0.3, 0.4), (5.0, 2.0)):
        u = law(a, b).cdf(law(a, b).sample((20_000,))).sort().values
        assert (u - (torch.arange(20_000, dtype=DOUBLE) + 0.5) / 20_000).abs().max() < 0.018


@pytest.mark.parametrize(("a", "b"), [(0.02, 0.02), (0.02, 50.0), (50.0, 0.02), (50.0, 50.0)])
def test_single_precision_at_the_ends(a, b):
    concentrations = torch.tensor([a, b], requires_grad=True)
    q = Kumaraswamy(*concentrations)
    y = q.rsample_logits((20_000,))
    terms = [y, q.log_prob_logits(y), q.mean_log_rest, kl_divergence(q, Beta(torch.tensor(1.0), torch.tensor(2.0)))]
    for term in terms:
        (gradient,) = torch.autograd.grad(term.sum(), concentrations, retain_graph=True)
        assert term.isfinite().all()
        assert gradient.isfinite().all()
    torch.testing.assert_close(q.mean_log_rest, law(a, b).mean_log_rest.float(), rtol=1e-5, atol=1e-6)


def test_gradients():
    a, b = (torch.tensor([0.5, 2.0], dtype=DOUBLE, requires_grad=True) for _ in range(2))
    prior = Beta(torch.tensor(1.3, dtype=DOUBLE), torch.tensor(2.0, dtype=DOUBLE))

    def values(a, b):
        torch.manual_seed(0)
        q = Kumaraswamy(a, b)
        v = q.rsample((3,))
        return v, q.log_prob(v), q.mean, kl_divergence(q, prior), q.rsample_logits((2,))

    assert torch.autograd.gradcheck(values, (a, b))


def test_shapes_copies_and_errors():
    q = Kumaraswamy(torch.ones(4, 1), torch.ones(3))
    assert q.rsample((2,)).shape == (2, 4, 3) == q.expand((2, 4, 3)).mean.shape
    v = q.sample()
    for other in (copy.deepcopy(q), pickle.loads(pickle.dumps(q))):
        assert torch.equal(other.log_prob(v), q.log_prob(v))
    torch.testing.assert_close(
        torch.func.vmap(Kumaraswamy(*torch.ones(2), validate_args=False).log_prob)(v), q.log_prob(v)
    )
    with pytest.raises(ValueError, match="a to be positive and finite, got -1"):
        Kumaraswamy(torch.tensor(-1.0), torch.tensor(1.0), validate_args=True)
    with pytest.raises(ValueError, match="support"):
        Kumaraswamy(torch.tensor(1.0), torch.tensor(1.0), validate_args=True).log_prob(torch.tensor(1.5))
