"""Graphs from what moves in them: the reference's numbers, both triangles, an evidence by enumeration."""

from __future__ import annotations

import math

import golden_discrete
import pytest
import torch
from torch.distributions import Independent, Normal

from logprob.discrete.by_perturbation import ByPerturbation
from logprob.discrete.implicit import AIMLE, IMLE
from logprob.discrete.latents import PerturbedLatent, SpanningTreeLatent, SubsetLatent
from logprob.discrete.relational_model import RelationalModel, gaussian_log_density
from logprob.discrete.straight_through import StraightThroughMarginals
from logprob.distributions import GaussianLatent, IntractableError
from logprob.gradients import StraightThroughRelaxed
from logprob.metrics import DiscreteBound, EvidenceBounds
from logprob.nn import EdgeDecoder, EdgeEncoder
from logprob.objectives import Batch, NegativeELBO
from logprob.objectives.published import published_edge_divergence, published_edge_error
from logprob.simplex import ConcreteLatent
from logprob.testing import check_objective

VERTICES, TIMES, EDGES = 4, 3, 6
LATENTS = {
    "tree": (lambda: SpanningTreeLatent(VERTICES), "closed", StraightThroughMarginals),
    "tree by perturbation": (lambda: SpanningTreeLatent(VERTICES), "closed", lambda: ByPerturbation(AIMLE())),
    "three edges": (lambda: SubsetLatent(1, EDGES, k=3), "closed", StraightThroughMarginals),
    "perturbed tree": (lambda: PerturbedLatent(SpanningTreeLatent(VERTICES)), "bound", IMLE),
    "independent edges": (lambda: ConcreteLatent(EDGES, 2, temperature=0.5), "categorical", StraightThroughRelaxed),
}


def encoder(inputs, outputs):
    return EdgeEncoder(inputs, outputs, hidden=6)


def decoder(dimensions):
    return EdgeDecoder(dimensions, hidden=6, prediction_steps=2)


def model_of(latent, vertices=VERTICES, **rest):
    return RelationalModel(TIMES * vertices * 2, vertices, latent, encoder, decoder, **{"variance": 0.1, **rest})


def rows(number=8, vertices=VERTICES):
    return torch.randn(number, TIMES * vertices * 2)


def check_trains(objective, model, batch):
    """A finite loss whose finite gradient is there for every parameter."""
    value = objective(model, batch).value
    value.backward()
    assert value.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert any(p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("name", LATENTS)
def test_every_law_of_graphs_trains(name):
    latent, kl, gradient = LATENTS[name]
    objective = NegativeELBO(kl, gradient(), samples=2)
    check_trains(objective, model_of(latent()), Batch(rows()))
    if gradient is StraightThroughMarginals:  # the others' steps depend on the scale of the loss, or on earlier ones
        check_objective(objective, lambda: model_of(latent()), Batch(rows()))
    numbers = EvidenceBounds(("closed", "categorical", "bound"))(model_of(latent()), Batch(rows()))
    assert all(map(math.isfinite, numbers.values()))


@pytest.mark.parametrize("name", LATENTS)
def test_both_directions_get_the_same_gradient(name):
    latent, kl, gradient = LATENTS[name]
    torch.manual_seed(0)
    model = model_of(latent())
    kept = []
    model.encoder.register_forward_hook(lambda _m, _i, out: kept.append(out))
    value = NegativeELBO(kl, gradient(), samples=4)(model, Batch(rows())).value
    (directed,) = torch.autograd.grad(value, kept[0])
    forth, back = model.ends
    torch.testing.assert_close(directed[:, forth], directed[:, back])
    assert (directed != 0).any(0).all()


def test_scores_and_published_terms_are_those_of_the_reference():
    golden = golden_discrete.load("models_losses")
    n = golden["nri_n"].item()
    model = model_of(SpanningTreeLatent(n), n).double()
    model.encoder = _Says(golden["nri_logits"])
    scores = model.encode(rows(3, n))
    torch.testing.assert_close(scores[:, model.place], golden["nri_logits_symmetric"].squeeze(-1))
    published = published_edge_divergence(scores, n)
    torch.testing.assert_close(published, golden["nri_kl_gumbel_all_directed"], rtol=1e-10, atol=1e-10)
    error = (golden["nri_pred"] - golden["nri_target"]).transpose(1, 2)  # (B, T, n, 2)
    published = published_edge_error(error, 5e-5)
    torch.testing.assert_close(published, golden["nri_nll_var5e5"], rtol=1e-10, atol=1e-10)
    constant = 0.5 * error[0].numel() * math.log(2 * math.pi * 5e-5)
    torch.testing.assert_close(-gaussian_log_density(error.flatten(1), 5e-5), n * published + constant)


class _Says(torch.nn.Module):
    def __init__(self, numbers):
        super().__init__()
        self.numbers = numbers

    def forward(self, _x):
        return self.numbers


def test_the_likelihood_is_a_normal_law_around_the_predictions():
    model = model_of(SpanningTreeLatent(VERTICES))
    x = rows()
    z = model.posteriors(x)[0].sample((5,))
    law = Independent(Normal(model.predict(x, z), 0.1**0.5), 3)
    torch.testing.assert_close(model.log_likelihood(x, [z]), law.log_prob(model.positions(x)[:, 1:]))


def test_edges_are_told_in_both_directions():
    """A tree of one edge: only the vertices at its ends hear from along it."""
    model = model_of(SpanningTreeLatent(VERTICES))
    model.decoder = EdgeDecoder(2, hidden=6, prediction_steps=1, skip_first=True)
    x, z = rows(1), torch.zeros(1, 1, EDGES)
    alone = model.predict(x, z)
    z[..., 4] = 1  # edges 01, 02, 03, 12, 13, 23
    moved = (model.predict(x, z) != alone).any(-1).any(-2).squeeze(0)
    assert moved.tolist() == [False, True, False, True]


def test_bounds_rise_to_the_evidence_of_three_trees():
    """3 standard errors of 2,000 estimates."""
    torch.manual_seed(0)
    model = model_of(SpanningTreeLatent(3), 3, variance=0.5).eval()
    x = rows(1, 3)
    trees = torch.tensor([[1.0, 1, 0], [1, 0, 1], [0, 1, 1]])[:, None, None]
    with torch.no_grad():
        evidence = (model.log_likelihood(x, [trees]).logsumexp(0) - math.log(3)).item()
    for samples in (1, 100):
        bound = DiscreteBound(samples)(model, Batch(x.expand(2000, -1)))
        assert bound["discrete_bound"] - 3 * bound["discrete_bound_se"] - 1e-5 < evidence
    assert evidence - bound["discrete_bound"] < 0.1


def test_what_it_cannot_do_is_said():
    latent = SpanningTreeLatent(VERTICES)
    with pytest.raises(IntractableError, match="first positions"):
        model_of(latent)()
    with pytest.raises(ValueError, match="6 or 12 features"):
        model_of(GaussianLatent(5))
    with pytest.raises(ValueError, match="2 or more times"):
        RelationalModel(VERTICES * 2, VERTICES, latent, encoder, decoder)
    with pytest.raises(ValueError, match="got 25 variables"):
        RelationalModel(25, VERTICES, latent, encoder, decoder)
    with pytest.raises(ValueError, match="positive variance"):
        model_of(latent, variance=0.0)
