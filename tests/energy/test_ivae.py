from __future__ import annotations

import math

import pytest
import torch
from golden_icebeem import load

from logprob.distributions import IntractableError
from logprob.energy import IVAE, AnnealedELBO
from logprob.nn import take_copy


def golden_model(case, copies=None, index=...):
    """The reference weights in one copy, or in all."""
    model = IVAE(5, conditions=20, hidden=(10, 10), copies=copies).double()
    with torch.no_grad():
        for number in range(3):
            for name, network in (("f", model.decoder), ("logl", model.prior)):
                network[2 * number].weight[index] = case[f"{name}_w{number}"]
                network[2 * number].bias[index] = case[f"{name}_b{number}"]
            twin = model.encoder[2 * number]
            twin.weight[index] = torch.stack([case[f"{name}_w{number}"] for name in ("g", "logv")])
            twin.bias[index] = torch.stack([case[f"{name}_b{number}"] for name in ("g", "logv")])
    return model


def close(value, expected):
    torch.testing.assert_close(value, expected, atol=1e-8, rtol=1e-8)


def test_the_reference_terms():
    case = load("ivae")
    model, x, y, eps = golden_model(case), case["x"], case["y"], case["eps"]
    mean, log_variance = model.encode(x, y)
    terms = model.terms(x, y, eps)
    close(mean, case["enc_mean"])
    close(model.features(x, y), case["enc_mean"])
    close(log_variance.exp(), case["enc_var"])
    close(model.prior_log_variance(y).exp(), case["prior_var"])
    close(model.decoder(case["z"]), case["dec_mean"])
    close(terms.log_likelihood, case["log_px_z"])
    close(terms.log_prior, case["log_pz_y"])
    close(terms.log_posterior, case["log_qz_xy"])
    close(model.elbo(x, y, eps).mean(), case["elbo"])


def test_the_reference_gradients_in_one_copy_of_three():
    case = load("ivae")
    model = golden_model(case, copies=3, index=1)
    bound = model.elbo(case["x"], case["y"], case["eps"]).mean(-1)
    bound.sum().backward()
    close(bound[1], case["elbo"])
    close(model.decoder[0].weight.grad[1], case["grad_f_w0"])
    close(model.encoder[4].weight.grad[1, 0], case["grad_g_w2"])
    close(model.prior[0].weight.grad[1], case["grad_logl_w0"])


def test_the_reference_annealing():
    case = load("ivae")
    rows, steps, step = (int(value) for value in case["anneal_N_T_t"])
    annealed = AnnealedELBO(rows, steps)
    close(torch.tensor(annealed.weights(0.01, step), dtype=torch.float64), case["anneal_weights"][:4])
    value = annealed(golden_model(case), case["x"], case["y"], step, case["eps"])
    close(value.mean(), case["elbo_annealed"])
    stacked = annealed(golden_model(case, copies=2), case["x"], case["y"], step, case["eps"])
    close(stacked[1].mean(), case["elbo_annealed"])


def test_annealing_ends_in_the_bound():
    model, x, y, eps = IVAE(3, conditions=2), torch.randn(8, 3), torch.arange(8) % 2, torch.randn(8, 3)
    annealed = AnnealedELBO(rows=100, steps=1000)
    torch.testing.assert_close(annealed(model, x, y, 626, eps), model.elbo(x, y, eps))
    assert (annealed(model, x, y, 1, eps) - model.elbo(x, y, eps)).abs().max() > 1
    with pytest.raises(ValueError, match="got 0 and 10"):
        AnnealedELBO(rows=0, steps=10)


def test_copies_are_models_of_their_own():
    torch.manual_seed(0)
    model = IVAE(4, conditions=3, latents=2, hidden=(6,), copies=3)
    x, y, eps = torch.randn(9, 4), torch.arange(9) % 3, torch.randn(3, 9, 2)
    for index in range(3):
        alone = take_copy(model, index)
        torch.testing.assert_close(alone.elbo(x, y, eps[index]), model.elbo(x, y, eps)[index])
        torch.testing.assert_close(alone.marginal_features(x), model.marginal_features(x)[index])
    own = torch.stack([x, x + 1, x - 1])
    torch.testing.assert_close(model.features(own, y)[1], take_copy(model, 1).features(x + 1, y))


def linear_gaussian(likelihood="normal"):
    """No hidden layer and an exact posterior: x = A z + noise of variance 0.25, p(z|y) = N(0, e^l)."""
    torch.manual_seed(0)
    model = IVAE(2, conditions=3, hidden=(), likelihood=likelihood, decoder_variance=0.25).double()
    weight, variances = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double(), torch.tensor([[1, 4], [9, 1], [0.1, 0.1]])
    with torch.no_grad():
        model.decoder[0].weight.copy_(weight)
        model.decoder[0].bias.zero_()
        model.prior[0].weight.copy_(variances.log().T)
        model.prior[0].bias.zero_()
        model.encoder[0].weight.zero_()
        model.encoder[0].bias.zero_()
    return model, weight, variances.double()


def exact(model, x, variances, weight):
    """Log-density of rows under each label."""
    laws = [
        torch.distributions.MultivariateNormal(
            torch.zeros(2).double(), weight @ torch.diag(v) @ weight.T + 0.25 * torch.eye(2).double()
        )
        for v in variances
    ]
    return torch.stack([law.log_prob(x) for law in laws], -1)


class ExactEncoder(torch.nn.Module):
    """The posterior of `linear_gaussian`; weights of a linear network cannot depend on the label."""

    def __init__(self, model):
        super().__init__()
        self.scales, self.variances = model[1].diag(), model[2]

    def forward(self, inputs):
        x, variances = inputs[:, :2], inputs[:, 2:] @ self.variances
        posterior = 1 / (1 / variances + self.scales**2 / 0.25)
        return torch.stack([posterior * self.scales * x / 0.25, posterior.log()])


def test_with_the_exact_posterior_the_bound_is_tight_and_labels_follow_bayes():
    made = linear_gaussian()
    model, weight, variances = made
    model.encoder = ExactEncoder(made)
    x, y = torch.randn(7, 2).double(), torch.arange(7) % 3
    truth = exact(model, x, variances, weight)
    torch.testing.assert_close(model.elbo(x, y), truth.gather(-1, y[:, None])[:, 0])
    prior = torch.tensor([0.2, 0.3, 0.5]).double().log()
    posterior = (truth + prior).softmax(-1)
    torch.testing.assert_close(model.label_log_probs(x, prior).exp(), posterior)
    means = torch.stack([model.features(x, torch.full((7,), k)) for k in range(3)], 1)  # (N, K, L)
    torch.testing.assert_close(model.marginal_features(x, prior), (posterior[..., None] * means).sum(1))


def test_the_bound_tightens_towards_the_density():
    model, weight, variances = linear_gaussian()
    x, y = torch.randn(7, 2).double(), torch.arange(7) % 3
    law, truth = model(y), exact(model, x, variances, weight).gather(-1, y[:, None])[:, 0]
    with torch.no_grad():
        one = torch.stack([law.log_prob_bound(x) for _ in range(200)]).mean(0)
        many = law.log_prob_bound(x, samples=2000)
    assert (one < truth).all()
    assert ((many - truth).abs() < (one - truth).abs()).all()
    with pytest.raises(IntractableError, match="log_prob_bound"):
        law.log_prob(x)
    with pytest.raises(ValueError, match="got 0"):
        law.log_prob_bound(x, samples=0)


def test_draws_have_the_moments_of_the_model():
    model, weight, variances = linear_gaussian()
    x = model(torch.arange(3)).sample((20_000,))
    assert x.shape == (20_000, 3, 2)
    expected = variances @ weight.square().T + 0.25
    assert ((x.var(0) / expected - 1).abs() < 0.06).all()  # six standard errors of a normal variance
    assert (model(torch.arange(3)).sample().shape, model(torch.arange(3)).sample((0,)).shape) == ((3, 2), (0, 3, 2))


@pytest.mark.parametrize("copies", [None, 2])
def test_one_latent_dimension_draws_one_number_a_row(copies):
    torch.manual_seed(0)
    model = IVAE(3, conditions=2, latents=1, copies=copies, decoder_variance=1e-6)
    y = torch.zeros(500, dtype=torch.int64)
    lead = () if copies is None else (copies,)
    x = model(y).sample((4,))
    assert x.shape == (4, *lead, 500, 3)
    assert model.elbo(torch.randn(500, 3), y).shape == (*lead, 500)
    # rows are draws of their own: the decoder's output differs from row to row
    assert len(x.flatten(0, -2)[:, 0].unique()) > 1000


def test_likelihoods():
    y, x = torch.tensor([0, 1]), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    decoded = torch.randn(2, 3)
    laws = {
        "normal": torch.distributions.Normal(decoded, 0.2),
        "laplace": torch.distributions.Laplace(decoded, math.sqrt(0.02)),
        "bernoulli": torch.distributions.Bernoulli(logits=decoded),
    }
    for name, law in laws.items():
        model = IVAE(3, conditions=2, likelihood=name, decoder_variance=0.04)
        torch.testing.assert_close(model.log_likelihood(x, decoded), law.log_prob(x).sum(-1))
        draws = model(y).sample((5,))
        assert draws.shape == (5, 2, 3)
        assert torch.isfinite(model.elbo(x, y)).all()
    assert set(draws.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(
    "wrong", [{"likelihood": "gamma"}, {"decoder_variance": 0.0}, {"latents": 0}, {"copies": 0}, {"conditions": 0}]
)
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match="got"):
        IVAE(**{"features": 3, "conditions": 2, **wrong})


def test_it_needs_labels():
    with pytest.raises(ValueError, match="expected labels"):
        IVAE(3, conditions=2)()


def test_labels_are_checked():
    model, x = IVAE(3, conditions=4), torch.randn(2, 3)
    with pytest.raises(ValueError, match="from 0 to 3, got -1 to 1"):
        model.elbo(x, torch.tensor([1, -1]))
    with pytest.raises(ValueError, match="from 0 to 3, got 1 to 4"):
        model(torch.tensor([1, 4]))
    assert model.elbo(x, torch.tensor([1, 2], dtype=torch.int32)).shape == (2,)


@pytest.mark.parametrize("copies", [None, 2])
def test_no_rows(copies):
    model = IVAE(3, conditions=4, copies=copies)
    assert model.elbo(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)).shape[-1] == 0
