"""The penalty on features that change fast, against a search by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from logprob.batch import Batch
from logprob.energy import UnconditionalEnergy
from logprob.nn import MLP, BatchNormMLP, StackedMLP, take_copy
from logprob.objectives import AdversarialSmoothness, DenoisingScoreMatching, NoiseContrastive


def test_it_is_the_divergence_along_the_gradient():
    model, x = UnconditionalEnergy(MLP(4, 3, (6,), "tanh").double()), torch.randn(5, 4).double()
    torch.manual_seed(0)
    value = AdversarialSmoothness(weight=0.5)(model, Batch(x)).value
    torch.manual_seed(0)
    d = nn.functional.normalize(torch.randn_like(x), dim=-1).requires_grad_()
    p = model.features(x).softmax(-1).detach()

    def divergence(rows):
        return nn.functional.kl_div(model.features(rows).log_softmax(-1), p, reduction="batchmean")

    (gradient,) = torch.autograd.grad(divergence(x + 10 * d), d)
    torch.testing.assert_close(value, 0.5 * divergence(x + nn.functional.normalize(gradient, dim=-1)))


def test_more_iterations_find_the_direction_that_matters():
    """Of linear features only one direction changes the softmax: the penalty is the divergence along it."""
    weight = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).double()
    network = nn.Linear(3, 2, bias=False).double()
    network.load_state_dict({"weight": weight})
    model, x = UnconditionalEnergy(network), torch.zeros(6, 3).double()
    objective = AdversarialSmoothness(xi=1e-3, eps=0.1)
    p, q = torch.tensor([0.5, 0.5]).double(), torch.tensor([0.2, 0.0]).double().softmax(-1)
    expected = (p * (p / q).log()).sum()
    torch.testing.assert_close(objective.divergences(model, x), expected.expand(6))


def test_only_the_loss_changes():
    """Neither averages nor gradients are changed by the search, and no row asks for a gradient."""
    model, x = UnconditionalEnergy(BatchNormMLP(4)).train(), torch.randn(9, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    value = AdversarialSmoothness()(model, Batch(x)).value
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not x.requires_grad
    value.backward()
    assert any(parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_it_adds_to_an_objective():
    model, batch = UnconditionalEnergy(MLP(4, 3, (6,), "tanh")), Batch(torch.randn(5, 4))
    both = AdversarialSmoothness(DenoisingScoreMatching(0.1), weight=2.0)(model, batch)
    parts = both.metrics["dsm"] + 2 * both.metrics["adversarial_divergence"]
    torch.testing.assert_close(both.value.detach(), parts)
    assert AdversarialSmoothness().prepare(model, batch) is batch
    AdversarialSmoothness().finish_epoch(model)

    class Hooked:
        ended = 0

        def prepare(self, model, rows):
            return rows.rows(slice(0, 2))

        def finish_epoch(self, model):
            self.ended += 1

    hooked = Hooked()
    assert len(AdversarialSmoothness(hooked).prepare(model, batch).x) == 2
    AdversarialSmoothness(hooked).finish_epoch(model)
    assert hooked.ended == 1


def test_copies_are_summed():
    many = UnconditionalEnergy(StackedMLP(4, 3, (6,), "tanh", copies=2), copies=2).double()
    x = torch.randn(5, 4).double()
    assert AdversarialSmoothness().divergences(many, x).shape == (2, 5)
    objective = AdversarialSmoothness(xi=1e-4, iterations=60)  # far enough for every start to find the same
    alone = [objective(take_copy(many, index), Batch(x)).value for index in range(2)]
    torch.testing.assert_close(objective(many, Batch(x)).value, sum(alone), rtol=1e-3, atol=1e-6)


def test_numbers_out_of_range():
    for options in ({"xi": 0.0}, {"eps": -1.0}):
        with pytest.raises(ValueError, match="must be positive"):
            AdversarialSmoothness(**options)
    with pytest.raises(ValueError, match="iterations must be at least 1"):
        AdversarialSmoothness(iterations=0)


def test_the_change_of_an_image_has_the_asked_length():
    """The length is that of all its pixels, not of each of its lines."""

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.seen = nn.Linear(64, 5).double(), []

        def features(self, x):
            self.seen.append(x)
            return self.linear(x.flatten(1))

    model, x = Watched(), torch.randn(4, 1, 8, 8).double()
    images = AdversarialSmoothness(xi=10.0, eps=2.0)
    images.divergences(model, x)
    lengths = [(seen - x).flatten(1).norm(dim=1) for seen in model.seen]
    for found, expected in zip(lengths, (0.0, 10.0, 2.0), strict=True):
        torch.testing.assert_close(found.detach(), torch.full((4,), expected).double())


def test_the_state_of_what_it_wraps_is_kept():
    noise = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(4), 1.0), 1)
    model, batch = UnconditionalEnergy(MLP(4, 3)), Batch(torch.randn(5, 4))
    first, second = (AdversarialSmoothness(NoiseContrastive(noise, pool=20)) for _ in range(2))
    first(model, batch)
    assert first.objective.pool.seed is not None
    second.load_state_dict(first.state_dict())
    assert second.objective.pool.seed == first.objective.pool.seed
    bare = AdversarialSmoothness()
    bare.load_state_dict(AdversarialSmoothness().state_dict())

    class Placed:
        def to(self, device):
            self.device = device
            return self

    assert AdversarialSmoothness(Placed()).to(torch.device("cpu")).objective.device == torch.device("cpu")
