"""Deep Gaussian mixtures: bounds against the evidence by quadrature, the loss against loops, truncation."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from logprob.batch import Batch
from logprob.distributions import IntractableError
from logprob.distributions.pixels import GaussianPixels
from logprob.metrics import LikelihoodBound
from logprob.nn import MLP
from logprob.objectives import NegativeLikelihoodBound
from logprob.objectives.mixture_elbo import NegativeMixtureELBO
from logprob.simplex.gaussian_mixture import DeepGaussianMixture
from logprob.simplex.kumaraswamy_logits import KumaraswamyLogits
from logprob.simplex.mixture_sticks import GaussianSticks, KumaraswamySticks
from logprob.simplex.truncation import PerSampleTruncation, QuantileTruncation

STICKS = {
    "gaussian": partial(GaussianSticks, concentration=2.0),
    "kumaraswamy": partial(KumaraswamySticks, concentration=2.0),
}
linear = partial(MLP, hidden=())


def tiny(sticks, components=3, **options):
    """Two pixels and one latent number; a posterior that is not the prior, and differs from one row to the next."""
    model = DeepGaussianMixture(2, sticks, linear, linear, components=components, size=1, **options).double()
    sticks, widths = model.sticks.inputs // 2, slice(2 * (components - 1) + components, None)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4)
        model.decoder[0].weight.mul_(4)
        # Wider than the prior, so that the weights of a bound have a variance.
        model.encoder[0].bias[widths] += 0.7
        model.encoder[0].bias[sticks : 2 * sticks] += 0.7 if isinstance(model.sticks, GaussianSticks) else -0.5
    return model


def evidence(model, x):
    """log p(x): weights have the means of independent sticks, and there is one latent number."""
    nodes, node_weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(100))
    node_weights = node_weights / math.sqrt(2 * math.pi)
    prior = model.prior()
    if isinstance(prior.sticks, Normal):
        mean = (torch.sigmoid(prior.sticks.loc[:, None] + prior.sticks.scale[:, None] * nodes) * node_weights).sum(-1)
    else:
        mean = torch.full((model.components - 1,), 1 / (1 + model.sticks.concentration), dtype=torch.float64)
    rest = torch.cat([torch.ones(1).double(), (1 - mean).cumprod(0)])
    pi = rest * torch.cat([mean, torch.ones(1).double()])
    z = model.means + nodes  # (K, n), as d = 1
    likelihood = model.likelihood(model.decoder(z[..., None]), x[:, None, None, :]).exp()  # (B, K, n)
    return ((likelihood * node_weights).sum(-1) @ pi).log()


ROWS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
EACH = {"all": None, "each": PerSampleTruncation(0.8), "quantile": QuantileTruncation(0.8, 75.0)}


@pytest.mark.parametrize("name", STICKS)
def test_the_bound_against_the_evidence(name):
    """Estimates of p(x) have the right mean, bounds rise with M and stay below; 4 standard errors of 12 numbers."""
    model = tiny(STICKS[name])
    with torch.no_grad():
        exact = evidence(model, ROWS)
        means = []
        for samples, draws in ((1, 40_000), (10, 10_000), (100, 2_000)):
            many = ROWS.repeat_interleave(draws, 0)
            bounds = torch.cat([model().log_prob_bound(part, samples) for part in many.split(20_000)]).reshape(3, draws)
            error = bounds.exp().std(-1) / math.sqrt(draws)
            assert ((bounds.exp().mean(-1) - exact.exp()).abs() <= 4 * error).all()
            assert (bounds.mean(-1) <= exact + 4 * bounds.std(-1) / math.sqrt(draws)).all()
            means.append(bounds.mean(-1))
    assert (means[0] < means[1]).all()
    assert (means[1] < means[2]).all()
    assert (means[2] > exact - 0.1).all()


@pytest.mark.parametrize("name", STICKS)
@pytest.mark.parametrize("cut", EACH)
@pytest.mark.parametrize("kl", ["closed", "sampled", "sticking-the-landing"])
def test_the_evidence_lower_bound_is_below_the_evidence(name, cut, kl):
    """And below the bound that sums the component out, which is below the evidence; 4 standard errors of 54 numbers."""
    model = tiny(partial(STICKS[name], truncation=EACH[cut]))
    with torch.no_grad():
        many = ROWS.repeat_interleave(4_000, 0)
        terms = NegativeMixtureELBO(kl=kl).terms(model, many)
        elbo = terms["log_likelihood"] - terms["kl_components"] - terms["kl_sticks"] + terms["log_kept_weight"]
        elbo = elbo.reshape(3, -1)
        tighter = model().log_prob_bound(many).reshape(3, -1)
        exact = evidence(model, ROWS)
    error = 4 * (elbo.var(-1) + tighter.var(-1)).div(4_000).sqrt()
    assert (elbo.mean(-1) <= tighter.mean(-1) + error).all()
    assert (tighter.mean(-1) <= exact + error).all()


@pytest.mark.parametrize("name", STICKS)
@pytest.mark.parametrize("cut", EACH)
@pytest.mark.parametrize("kl", ["closed", "sampled"])
def test_the_loss_against_loops(name, cut, kl):
    model = tiny(partial(STICKS[name], truncation=EACH[cut]), components=4)
    torch.manual_seed(3)
    loss = NegativeMixtureELBO(kl=kl, samples=5)(model, Batch(ROWS))
    torch.manual_seed(3)
    posterior, prior = model.posterior(ROWS), model.prior()
    draws = model.draw(ROWS, posterior, 5)
    total = 0.0
    for s in range(5):
        fractions = torch.sigmoid(draws.sticks[s])
        for b in range(3):
            pi, rest = [], 1.0
            for v in [*fractions[b].tolist(), 1.0]:
                pi.append(rest * v)
                rest *= 1 - v
            pi = pi[: kept_of(draws.log_weights[s, b])]
            for k, weight in enumerate(pi):
                z = draws.vectors[s, b, k]
                q = Normal(posterior.components.loc[b, k], posterior.components.scale[b, k])
                p = Normal(prior.components.loc[k], 1.0)
                gap = kl_divergence(q, p) if kl == "closed" else q.log_prob(z) - p.log_prob(z)
                log_likelihood = model.likelihood(model.decoder(z), ROWS[b])
                total += weight / sum(pi) * (log_likelihood - gap.sum()).item()
            total += math.log(sum(pi))
            q, p, y = posterior.sticks, prior.sticks, draws.sticks[s]
            gap = kl_divergence(q, p) if kl == "closed" else q.log_prob(y) - p.log_prob(y)
            total -= gap[b].sum().item()
    assert loss.value.item() == pytest.approx(-total / 15, abs=1e-10)
    assert loss.metrics["elbo"].item() == pytest.approx(total / 15, abs=1e-10)


def kept_of(log_weights):
    return int((log_weights > -math.inf).sum())


@pytest.mark.parametrize("name", STICKS)
def test_divergences_agree_in_value_and_gradient(name):
    """Four standard errors of every entry of the encoder's bias, 10 numbers, over 60 estimates of 200 rows."""
    model = tiny(STICKS[name])
    bias = model.encoder[0].bias
    x, gradients, values = Batch(ROWS[1:2].expand(200, -1)), {}, {}
    for kl in ("closed", "sampled", "sticking-the-landing"):
        losses = [NegativeMixtureELBO(kl=kl)(model, x).value for _ in range(60)]
        values[kl] = torch.stack(losses).detach()
        gradients[kl] = torch.stack([torch.autograd.grad(loss, bias)[0] for loss in losses])
    for kl in ("sampled", "sticking-the-landing"):
        for numbers in (values, gradients):
            error = (numbers["closed"].var(0) + numbers[kl].var(0)).div(60).sqrt()
            assert ((numbers["closed"].mean(0) - numbers[kl].mean(0)).abs() <= 4.5 * error).all()


@pytest.mark.parametrize("name", STICKS)
def test_it_truncates_less_than_it_says(name):
    model = tiny(STICKS[name], components=20)
    with torch.no_grad():
        whole = model.draw(ROWS, model.posterior(ROWS), 50)
        for threshold in (0.5, 0.9, 0.9999):
            model.sticks.truncation = PerSampleTruncation(threshold)
            cut = model.sticks.kept(whole.log_weights)
            mass = cut.exp().sum(-1)
            assert (mass > threshold).all()
            for s in range(50):  # one component fewer would not do
                for b in range(3):
                    kept = kept_of(cut[s, b])
                    assert cut[s, b, : kept - 1].exp().sum() <= threshold
            assert cut.shape[-1] == (cut > -math.inf).sum(-1).max()
    model.sticks.truncation = PerSampleTruncation(0.5)
    assert model.draw(ROWS, model.posterior(ROWS), 2).log_likelihoods.shape[-1] < 20
    assert model.reconstruct(ROWS).shape == (3, 2)


def test_weights_in_logarithms_where_they_underflow():
    y = torch.full((600,), -0.5)
    assert GaussianSticks(601).log_weights(y).isfinite().all()
    assert GaussianSticks(601).log_weights(y).logsumexp(-1).item() == pytest.approx(0, abs=1e-5)
    assert GaussianSticks(3).log_weights(torch.tensor([300.0, 0.0])).isfinite().all()


@pytest.mark.parametrize("name", STICKS)
def test_extreme_posteriors_in_single_precision(name):
    """Logits of sticks in the hundreds, a and b from 0.01 to 100: value and gradient stay finite."""
    sticks = STICKS[name](20)
    wide = 100.0 if name == "gaussian" else 4.6
    numbers = torch.cat(
        [wide * (2 * torch.rand(500, 19) - 1), 4.6 * (2 * torch.rand(500, 19) - 1)], -1
    ).requires_grad_()
    q = sticks.posterior(numbers)
    y = q.rsample((3,))
    weights = sticks.log_weights(y)
    assert weights.isfinite().all()
    (weights.logsumexp(-1).sum() + (q.log_prob(y) - sticks.prior().log_prob(y)).mean()).backward()
    assert numbers.grad.isfinite().all()


@pytest.mark.parametrize("a", [0.1, 1.0, 30.0])
def test_the_density_of_large_logits(a):
    """``1 - v^a = a exp(-y)`` up to ``exp(-2 y)``; single precision does not lose what double has."""
    y = torch.tensor([38.0, 39.9, 40.1, 60.0, 90.0, 500.0], dtype=torch.float64)
    b = 0.2
    expected = math.log(a * b) + (b - 1) * (math.log(a) - y) - y
    for dtype, digits in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        law = KumaraswamyLogits(torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype))
        assert law.log_prob(y.to(dtype)).double() == pytest.approx(expected, rel=digits)


def test_the_means_of_the_prior():
    model = DeepGaussianMixture(4, GaussianSticks, linear, linear, components=20, size=50)
    assert (model.means[0] == 0).all()
    assert torch.allclose(model.means[1:].norm(dim=-1), torch.ones(19))
    assert (model.means[1:] > 0).float().mean().item() == pytest.approx(0.5, abs=0.07)
    other = DeepGaussianMixture(4, GaussianSticks, linear, linear, components=20, size=50, mean_seed=1)
    again = DeepGaussianMixture(4, GaussianSticks, linear, linear, components=20, size=50)
    assert torch.equal(model.means, again.means)
    assert not torch.equal(model.means, other.means)
    assert "means" in model.state_dict()


@pytest.mark.parametrize("name", STICKS)
def test_samples_have_the_probabilities_of_the_evidence(name):
    """5 standard errors of four shares of 40 000 draws."""
    model = tiny(STICKS[name])
    images = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
    with torch.no_grad():
        probs = evidence(model, images).exp()
    assert probs.sum().item() == pytest.approx(1, abs=1e-6)
    rows = model().sample((40_000,))
    shares = torch.stack([(rows == image).all(-1).double().mean() for image in images])
    assert shares == pytest.approx(probs, abs=5 * 0.5 / 200)


def test_it_trains_by_either_loss_and_is_evaluated():
    torch.manual_seed(1)
    x = torch.bernoulli(torch.full((64, 12), 0.5)) * torch.bernoulli(torch.full((64, 1), 0.5))
    for objective in (NegativeMixtureELBO("sampled"), NegativeLikelihoodBound(samples=2)):
        model = DeepGaussianMixture(12, GaussianSticks, MLP, MLP, components=5, size=3)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        before = LikelihoodBound(samples=20)(model, Batch(x))["log_likelihood_bound"]
        for _ in range(100):
            optimizer.zero_grad()
            objective(model, Batch(x)).value.backward()
            optimizer.step()
        assert LikelihoodBound(samples=20)(model, Batch(x))["log_likelihood_bound"] > before + 1
    grey = DeepGaussianMixture(12, GaussianSticks, MLP, MLP, components=5, size=3, likelihood=GaussianPixels(0.1))
    assert NegativeMixtureELBO()(grey, Batch(x)).value.isfinite()
    assert grey.reconstruct(x).shape == grey().sample_mean((64,)).shape == (64, 12)


def test_what_is_refused():
    model = tiny(GaussianSticks)
    with pytest.raises(IntractableError, match="log_prob_bound"):
        model().log_prob(ROWS)
    with pytest.raises(ValueError, match="samples"):
        model().log_prob_bound(ROWS, samples=0)
    with pytest.raises(ValueError, match="components"):
        DeepGaussianMixture(2, GaussianSticks, linear, linear, components=1)
    with pytest.raises(ValueError, match="concentration"):
        GaussianSticks(3, concentration=0.0)
    with pytest.raises(ValueError, match="kl must be one of closed, sampled"):
        NegativeMixtureELBO(kl="categorical")
    with pytest.raises(TypeError, match="DeepGaussianMixture"):
        NegativeMixtureELBO()(torch.nn.Linear(2, 2), Batch(ROWS))
