"""Published losses, and the honest one beside them: against the reference."""

from __future__ import annotations

import golden_discrete
import pytest
import torch

from logprob.discrete.latents import SubsetLatent
from logprob.discrete.straight_through import StraightThroughMarginals
from logprob.distributions import BernoulliPixels, LatentVariableModel
from logprob.nn import MLP
from logprob.objectives import Batch, NegativeELBO
from logprob.objectives.published import PublishedSubsetLoss
from logprob.testing import check_objective


class _Reference:
    """A model whose networks say what the reference's said."""

    def __init__(self, golden):
        self.latent = SubsetLatent(*(golden[f"dvae_{name}"].item() for name in ("m", "n", "k"))).double()
        self.posterior = self.latent.posterior(golden["dvae_logits"])
        self.numbers = golden["dvae_rec_logits"].unflatten(0, (3, -1)).transpose(0, 1)  # (S, B, D)

    def posteriors(self, _x):
        return [self.posterior]

    def priors(self):
        return [self.latent.prior()]

    def log_likelihood(self, x, _z):
        return BernoulliPixels()(self.numbers, x)


def test_losses_are_those_of_the_reference():
    golden = golden_discrete.load("models_losses")
    samples, batch = golden["dvae_S"].item(), Batch(golden["dvae_x"])
    published = PublishedSubsetLoss(StraightThroughMarginals(), samples)(_Reference(golden), batch)
    torch.testing.assert_close(published.value, golden["dvae_paper_train_loss"], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        published.metrics["published_loss"], golden["dvae_paper_test_loss"], rtol=1e-10, atol=1e-10
    )
    objective = NegativeELBO(gradient=StraightThroughMarginals(), samples=samples)
    terms = objective.terms(_Reference(golden), batch.x)
    torch.testing.assert_close(-terms.log_likelihood.mean(0), golden["dvae_bce_per_image"], rtol=1e-10, atol=1e-10)
    negative = terms.divergences[0] - terms.log_likelihood.mean(0)
    torch.testing.assert_close(negative, golden["dvae_neg_elbo_subset"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(objective(_Reference(golden), batch).value, golden["dvae_neg_elbo_subset"].mean())


def test_it_trains():
    x = torch.bernoulli(torch.full((8, 6), 0.5))
    make = lambda: LatentVariableModel(6, SubsetLatent(3, 5, k=2), MLP, MLP)  # noqa: E731
    check_objective(PublishedSubsetLoss(StraightThroughMarginals(), 3), make, Batch(x))
    with pytest.raises(TypeError, match="no posteriors"):
        PublishedSubsetLoss(StraightThroughMarginals())(MLP(3, 3), Batch(x))
    with pytest.raises(ValueError, match="at least 1"):
        PublishedSubsetLoss(StraightThroughMarginals(), 0)
