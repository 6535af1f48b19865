"""Structured latent variables: divergences against the reference and enumeration, samples, bounds of the evidence."""

from __future__ import annotations

import math

import golden_discrete
import pytest
import torch
from torch.distributions import kl_divergence

from logprob.discrete.by_perturbation import ByPerturbation
from logprob.discrete.implicit import AIMLE, IMLE
from logprob.discrete.latents import PerturbedLatent, SpanningTreeLatent, SubsetLatent
from logprob.discrete.noise import Noise
from logprob.discrete.straight_through import StraightThroughMarginals
from logprob.distributions import GaussianLatent, IntractableError, LatentVariableModel
from logprob.distributions.kl_bound import kl_bound
from logprob.gradients import GradientEstimator, Reparameterized
from logprob.gradients.category import with_backward_of
from logprob.metrics import DiscreteBound, EvidenceBounds
from logprob.nn import MLP
from logprob.objectives import Batch, NegativeELBO, divergence
from logprob.testing import check_objective

EXACT = {"subset": lambda: SubsetLatent(3, 5, k=2), "tree": lambda: SpanningTreeLatent(4)}
PERTURBED = {f"perturbed {name}": lambda make=make: PerturbedLatent(make()) for name, make in EXACT.items()}
LATENTS = EXACT | PERTURBED


def rows(number=8, variables=6):
    return torch.bernoulli(torch.full((number, variables), 0.5))


def model_of(name):
    return LatentVariableModel(6, LATENTS[name](), MLP, MLP)


def linear(inputs, outputs):
    return MLP(inputs, outputs, ())


def check_trains(objective, model, batch):
    """A finite loss whose finite gradient is there for every parameter."""
    value = objective(model, batch).value
    value.backward()
    assert value.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert any(p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("name", LATENTS)
def test_shapes_and_structures(name):
    latent = LATENTS[name]()
    q = latent.posterior(torch.randn(4, latent.inputs))
    z = q.sample((7,))
    assert q.batch_shape == (4, *latent.prior().batch_shape)
    assert z.flatten(-2).shape == (7, 4, latent.features)
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert (z.sum(-1) == (2 if "subset" in name else 3)).all()
    assert latent.prior().sample((7,)).shape == (7, *z.shape[2:])


def test_divergences_of_subsets_are_those_of_the_reference():
    golden = golden_discrete.load("models_losses")
    m, n, k = (golden[f"dvae_{name}"].item() for name in ("m", "n", "k"))
    exact = SubsetLatent(m, n, k).double()
    q, p = exact.posterior(golden["dvae_logits"]), exact.prior()
    torch.testing.assert_close(divergence("closed", q, p), golden["dvae_kl_subset_per_image"], rtol=1e-9, atol=1e-9)
    perturbed = PerturbedLatent(exact)
    q, p = perturbed.posterior(golden["dvae_logits"]), perturbed.prior()
    torch.testing.assert_close(divergence("bound", q, p), golden["dvae_kl_pam_bound_per_image"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", EXACT)
def test_divergences_are_those_of_enumeration(name):
    torch.manual_seed(0)
    latent = EXACT[name]().double()
    q, p = latent.posterior(torch.randn(2, latent.inputs).double()), latent.prior()
    states = q.solver.states(q.event_shape).double()  # (M, n)
    scores = q.scores.unsqueeze(-2) @ states.T
    log_probs = scores.squeeze(-2).log_softmax(-1)  # (B, V, M)
    expected = (log_probs.exp() * (log_probs + math.log(len(states)))).sum(-1)
    torch.testing.assert_close(kl_divergence(q, p), expected)
    torch.testing.assert_close(kl_bound(q, p), expected)  # the closed form is the best bound


@pytest.mark.parametrize("name", LATENTS)
@pytest.mark.parametrize("gradient", [StraightThroughMarginals, lambda: ByPerturbation(AIMLE()), IMLE])
def test_structures_train_by_the_gradient(name, gradient):
    if (name in PERTURBED) != (gradient is IMLE):
        return
    kl = "bound" if name in PERTURBED else "closed"
    objective = NegativeELBO(kl, gradient(), samples=2)
    check_trains(objective, model_of(name), Batch(rows()))
    if gradient is StraightThroughMarginals:  # the others' steps depend on the scale of the loss, or on earlier ones
        check_objective(objective, lambda: model_of(name), Batch(rows()))


class _Score(GradientEstimator):
    """The plain score function."""

    def forward(self, q, f, sample_shape=()):
        z, log_prob = q.draw_with_log_prob(sample_shape)
        value = f(z)
        return with_backward_of(value, value.detach() * log_prob.sum(-1))


def test_score_functions_have_the_gradient_of_enumeration():
    """The gradient to the posterior's scores, 5 standard errors of 4,000 alike rows."""
    torch.manual_seed(0)
    model, x = LatentVariableModel(6, SubsetLatent(1, 4, k=2), linear, linear).double(), rows(1).double()
    numbers = torch.randn(4).double().requires_grad_()
    q = model.latents[0].posterior(numbers)
    states = q.solver.states((4,)).double().unsqueeze(1)  # (6, 1, 4)
    mean = (q.log_prob(states).exp().squeeze(-1) * model.log_likelihood(x, [states.unsqueeze(1)]).squeeze(-1)).sum()
    (exact,) = torch.autograd.grad(divergence("closed", q, model.priors()[0]).sum() - mean, numbers)
    repeated = numbers.detach().expand(4000, -1).clone().requires_grad_()
    model.encode = lambda _: repeated
    value = NegativeELBO(gradient=_Score())(model, Batch(x.expand(4000, -1))).value * 4000
    (estimates,) = torch.autograd.grad(value, repeated)
    error = estimates.std(0) / 4000**0.5
    assert ((estimates.mean(0) - exact).abs() < 5 * error).all()


def test_structures_beside_continuous_variables():
    model = LatentVariableModel(6, [GaussianLatent(2), SubsetLatent(3, 5, 2)], MLP, MLP)
    loss = NegativeELBO(["sampled", "closed"], StraightThroughMarginals())(model, Batch(rows()))
    loss.value.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert set(EvidenceBounds()(model, Batch(rows()))) == {"log_likelihood", "elbo_closed", "elbo_sampled"}


@pytest.mark.parametrize("name", LATENTS)
def test_structures_need_a_gradient(name):
    for objective in (NegativeELBO("bound"), NegativeELBO("bound", Reparameterized())):
        with pytest.raises(ValueError, match="structures are not reparameterised: NegativeELBO needs a gradient"):
            objective(model_of(name), Batch(rows()))
    with pytest.raises(ValueError, match="no relaxed density"):
        NegativeELBO("sampled", IMLE())(model_of(name), Batch(rows()))


def test_perturbed_scores_have_no_closed_divergence():
    with pytest.raises(IntractableError, match="'bound' where a bound is"):
        NegativeELBO("closed", IMLE())(model_of("perturbed tree"), Batch(rows()))


@pytest.mark.parametrize("name", LATENTS)
def test_metrics_take_structures(name):
    model, batch = model_of(name), Batch(rows())
    numbers = EvidenceBounds(("closed", "sampled", "bound"))(model, batch)
    if name in PERTURBED:
        assert set(numbers) == {"log_likelihood", "elbo_bound"}
    else:
        assert set(numbers) == {"log_likelihood", "elbo_closed", "elbo_sampled", "elbo_bound"}
        assert numbers["elbo_bound"] == numbers["elbo_closed"]
        assert all(map(math.isfinite, DiscreteBound(samples=10)(model, batch).values()))


@pytest.mark.parametrize("latent", [SubsetLatent(1, 4, k=2), SpanningTreeLatent(3)])
def test_bounds_rise_to_the_evidence(latent):
    """Enumeration of all structures; 3 standard errors of 4,000 estimates for each number of samples."""
    torch.manual_seed(2)
    model = LatentVariableModel(12, latent, linear, linear)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    x = rows(1, 12)
    states = latent.prior().solver.states(latent.prior().event_shape)[:, None, None]  # (M, 1, 1, n)
    with torch.no_grad():
        evidence = (model.log_likelihood(x, [states]).logsumexp(0) - math.log(len(states))).item()
    means = []
    for samples in (1, 10, 100):
        bound = DiscreteBound(samples, batch_size=100_000)(model, Batch(x.expand(4000, -1)))
        assert bound["discrete_bound"] - 3 * bound["discrete_bound_se"] < evidence
        means.append(bound["discrete_bound"])
    assert means == sorted(means)
    assert evidence - means[-1] < 0.1


class _Uniform(Noise):
    mean, std = 0.5, 12**-0.5

    def sample(self, shape, *, generator=None, dtype=None, device=None):
        return torch.rand(shape, generator=generator, dtype=dtype, device=device)

    def log_prob(self, noise):
        return torch.zeros_like(noise)

    def score(self, noise):
        return torch.zeros_like(noise)


def test_no_bound_without_gumbel_noise():
    latent = PerturbedLatent(SubsetLatent(2, 5, 2), noise=_Uniform())
    q = latent.posterior(torch.randn(3, latent.inputs))
    with pytest.raises(IntractableError, match="known with Gumbel noise"):
        divergence("bound", q, latent.prior())
    with pytest.raises(IntractableError, match="with TopK"):
        kl_bound(PerturbedLatent(SubsetLatent(2, 5, 2)).prior(), PerturbedLatent(SubsetLatent(2, 5, 3)).prior())


@pytest.mark.parametrize(
    "make",
    [
        lambda: SubsetLatent(0, 5, 2),
        lambda: SubsetLatent(3, 5, 6),
        lambda: SubsetLatent(3, 5, 0),
        lambda: SpanningTreeLatent(1),
        lambda: PerturbedLatent(SpanningTreeLatent(3), temperature=0.0),
        lambda: PerturbedLatent(GaussianLatent(3)),
    ],
)
def test_bad_arguments_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()
