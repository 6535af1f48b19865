"""Scores from a network, structures from a solver: flattened grids, distances, gradients, the baseline."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from logprob.discrete.implicit import AIMLE, IMLE
from logprob.discrete.noise import Gumbel
from logprob.discrete.solvers import Solver
from logprob.discrete.solvers.flattened import Flattened
from logprob.discrete.solvers.top_k import TopK
from logprob.discrete.structured_model import BernoulliCells, StructuredModel
from logprob.nn import MLP, CostNetwork
from logprob.objectives import Batch, NegativeLogLikelihood
from logprob.objectives.structured import FenchelYoungLoss, MarginalLoss, StructuredLoss
from logprob.testing import check_objective


@dataclass(frozen=True)
class CheapestRow(Solver):
    """Ones in the cheapest row of a grid."""

    event_dim: int = 2
    maximize: bool = False

    def __call__(self, scores, **instance):
        row = scores.detach().sum(-1).argmin(-1)
        return F.one_hot(row, scores.shape[-2]).to(scores).unsqueeze(-1).expand(scores.shape)

    def states(self, event_shape):
        return torch.eye(event_shape[0]).unsqueeze(-1).expand(-1, *event_shape)


def network(outputs):
    return MLP(5, outputs, (8,))


def batch_of(variables=9, rows=6, k=3):
    x = TopK(k)(torch.randn(rows, variables))
    return Batch(x, context=torch.randn(rows, 5))


def test_grids_are_flattened():
    model = StructuredModel(9, network, CheapestRow(), Gumbel())
    q = model(torch.randn(4, 5))
    assert (q.batch_shape, q.event_shape) == ((4,), (9,))
    z = q.sample((20,))
    assert torch.equal(z.unflatten(-1, (3, 3)).sum((-2, -1)), torch.full((20, 4), 3.0))
    assert torch.equal(z.unflatten(-1, (3, 3)).amin(-1), z.unflatten(-1, (3, 3)).amax(-1))
    torch.testing.assert_close(q.mode.unflatten(-1, (3, 3)), CheapestRow()(q.scores.unflatten(-1, (3, 3))))


def test_flattened_solvers_are_what_they_flatten():
    solver = Flattened(CheapestRow(), (2, 3))
    assert (solver.event_dim, solver.maximize, solver.binary, solver.in_torch) == (1, False, True, True)
    assert solver.states((6,)).tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]
    assert solver(torch.tensor([3.0, 0, 0, 1, 1, 0])).tolist() == [0, 0, 0, 1, 1, 1]
    assert StructuredModel(6, network, CheapestRow(), shape=(2, 3)).solver == solver
    with pytest.raises(ValueError, match=r"\(\.\.\., 6\), got \(5,\)"):
        solver(torch.zeros(5))
    with pytest.raises(ValueError, match="events of 2 dimensions"):
        Flattened(CheapestRow(), (6,))


@pytest.mark.parametrize("distance", ["hamming", "squared"])
def test_distances_count_the_places_that_differ(distance):
    model, batch = StructuredModel(9, network, TopK(3)), batch_of()
    loss = StructuredLoss(IMLE(), distance=distance)(model, batch)
    expected = (model(batch.context).mode != batch.x).sum(-1).float().mean()
    torch.testing.assert_close(loss.value.detach(), expected)
    torch.testing.assert_close(loss.metrics["distance"], expected)


def test_the_mean_stands_inside_of_the_square():
    model, batch = StructuredModel(9, network, TopK(3), Gumbel()), batch_of()
    torch.manual_seed(0)
    value = MarginalLoss(IMLE(), samples=50)(model, batch).value
    torch.manual_seed(0)
    mean = model(batch.context).sample((50,)).mean(0)
    torch.testing.assert_close(value.detach(), F.mse_loss(mean, batch.x))


@pytest.mark.parametrize("gradient", [lambda: IMLE(step=20.0), AIMLE])
@pytest.mark.parametrize("solver", [TopK(3), CheapestRow()])
def test_every_gradient_trains(solver, gradient):
    for objective in (
        StructuredLoss(gradient(), 3),
        StructuredLoss(gradient(), 3, "squared"),
        MarginalLoss(gradient()),
    ):
        model = StructuredModel(9, network, solver, Gumbel())
        objective(model, batch_of()).value.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        assert any(p.grad.any() for p in model.parameters())


def test_it_learns_the_scores_of_a_map():
    """Rows of the images are dark or light, the cheapest row is the darkest one; Adam, 60 steps."""
    torch.manual_seed(0)
    model = StructuredModel(9, lambda cells: CostNetwork(cells, channels=1, width=4), CheapestRow(), Gumbel(), 0.1)
    objective, optimizer = StructuredLoss(IMLE(), 4), torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        dark = torch.rand(32, 3)
        images = dark[:, None, :, None].repeat_interleave(8, dim=2).expand(-1, -1, -1, 24) + 0.01 * torch.rand(24, 24)
        x = F.one_hot(dark.argmin(-1), 3).float().repeat_interleave(3, dim=-1)
        optimizer.zero_grad()
        objective(model, Batch(x, context=images)).value.backward()
        optimizer.step()
    assert (model.eval()(images).mode == x).all(-1).float().mean() > 0.8


def test_fenchel_young_losses_are_least_at_the_answer():
    """Convex in the scores: its gradient is the mean answer less the right one, and vanishes far on the right side."""
    torch.manual_seed(0)
    model, batch = StructuredModel(9, lambda outputs: MLP(9, outputs, ()), TopK(3), Gumbel()), batch_of()
    q = model(batch.x)
    value = FenchelYoungLoss(samples=2000)(model, batch._replace(context=batch.x)).value
    (gradient,) = torch.autograd.grad(value, list(model.parameters())[-1])  # the bias: the sum over the scores
    expected = (q.sample((2000,)).mean(0) - batch.x).mean(0)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0.03)
    sure = StructuredModel(9, lambda _: nn.Identity(), TopK(3), Gumbel())
    loss = FenchelYoungLoss(samples=10)(sure, batch._replace(context=100 * batch.x))
    assert loss.value < 10


def test_cells_by_themselves_are_the_cross_entropy():
    model, batch = BernoulliCells(9, network), batch_of()
    check_objective(NegativeLogLikelihood(), lambda: BernoulliCells(9, network), batch)
    value = NegativeLogLikelihood()(model, batch).value
    expected = F.binary_cross_entropy_with_logits(model.network(batch.context), batch.x, reduction="sum") / 6
    torch.testing.assert_close(value, expected)
    assert model(batch.context).mode.shape == (6, 9)


def test_what_does_not_fit_is_refused():
    model = StructuredModel(9, network, TopK(3))
    with pytest.raises(ValueError, match="given a context, got none"):
        model()
    with pytest.raises(ValueError, match=r"scores of shape \(2, 9\), got \(2, 4\)"):
        StructuredModel(9, lambda _: MLP(5, 4), TopK(3))(torch.randn(2, 5))
    with pytest.raises(ValueError, match="square map, got 8"):
        StructuredModel(8, network, CheapestRow())
    with pytest.raises(ValueError, match="a shape of 8 numbers"):
        StructuredModel(8, network, CheapestRow(), shape=(3, 3))
    with pytest.raises(ValueError, match=r"expected rows \(6, 9\)"):
        StructuredLoss(IMLE())(model, batch_of()._replace(x=torch.zeros(6, 8)))
    for make in (
        lambda: StructuredLoss(IMLE(), 0),
        lambda: StructuredLoss(IMLE(), 1, "l1"),
        lambda: MarginalLoss(IMLE(), 0),
    ):
        with pytest.raises(ValueError, match="got"):
            make()
