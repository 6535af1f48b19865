"""Solvers and functions as layers."""

from __future__ import annotations

import pytest
import torch
from replayed import Counting
from torch import nn

from logprob.discrete.by_perturbation import ByPerturbation
from logprob.discrete.differentiable import DifferentiableSolver, differentiable
from logprob.discrete.identity import StraightThroughIdentity
from logprob.discrete.implicit import AIMLE, IMLE
from logprob.discrete.k_subset import KSubset
from logprob.discrete.noise import Normal
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.grid_path import GridPath
from logprob.discrete.solvers.top_k import TopK
from logprob.gradients import LeaveOneOut


def three(scores, **instance):
    """The three largest, as a function of tensors."""
    return TopK(3)(scores, **instance)


def test_a_function_and_a_solver_make_the_same_layer():
    solver, function = differentiable(TopK(3), IMLE(1.0)), differentiable(three, IMLE(1.0))
    scores = torch.randn(2, 4, 6, requires_grad=True)
    grads = []
    for layer in (solver, function):
        z = layer(scores, generator=torch.Generator().manual_seed(0), samples=5)
        grads += torch.autograd.grad((z @ torch.arange(6.0)).mean(0).sum(), scores)
        assert z.shape == (5, 2, 4, 6)
    assert grads[0].any()
    assert torch.equal(*grads)


def test_decorators_with_and_without_arguments():
    bare = differentiable(three)
    arguments = differentiable(gradient=StraightThroughIdentity(), noise=Normal(), temperature=0.1, samples=2)(three)
    for layer, shape in ((bare, (4, 6)), (arguments, (2, 4, 6))):
        assert isinstance(layer, DifferentiableSolver)
        assert layer(torch.randn(4, 6)).shape == shape
    assert isinstance(bare.gradient, AIMLE)
    assert "TopK(k=3)" in repr(differentiable(TopK(3)))


def test_evaluation_is_one_solve_without_noise():
    solver = Counting(2)
    layer, scores = differentiable(solver, samples=5).eval(), torch.randn(4, 6, requires_grad=True)
    z = layer(scores)
    assert solver.rows == 4
    assert torch.equal(z, TopK(2)(scores).expand(5, 4, 6))
    assert layer(scores, samples=1).shape == (1, 4, 6)
    noisy = differentiable(solver, samples=5, noisy_eval=True).eval()
    assert noisy(scores).requires_grad
    assert (noisy(torch.zeros(4, 6)).std(0) > 0).any()


def test_arguments_of_instances_reach_the_solver_and_get_no_gradient():
    mask = torch.ones(4, 6, dtype=torch.bool).index_fill_(1, torch.tensor(0), value=False)
    bonus = torch.zeros(4, 6, requires_grad=True)

    @differentiable(samples=3)
    def solver(scores, mask, bonus, name):
        assert name == "graph"
        assert mask.shape == bonus.shape == scores.shape
        return TopK(2)(scores + bonus, mask=mask)

    scores = torch.randn(4, 6, requires_grad=True)
    z = solver(scores, mask=mask, bonus=bonus, name="graph")
    (z @ torch.arange(6.0)).sum().backward()
    assert not z[..., 0].any()
    assert scores.grad.any()
    assert bonus.grad is None


def test_the_form_of_functions():
    """A function of grids that minimises."""
    path = differentiable(lambda costs: GridPath(floor=0.0)(costs), IMLE(5.0), noise=None, event_dim=2, maximize=False)
    costs = torch.rand(3, 5, 5, requires_grad=True)
    z = path(costs)
    assert torch.equal(z, GridPath()(costs))
    with pytest.raises(TypeError, match="TopK knows its own form, got event_dim"):
        differentiable(TopK(2), event_dim=2)
    with pytest.raises(ValueError, match="expected 0 or 1"):
        differentiable(lambda scores: scores.clone())(torch.randn(2, 3))
    assert differentiable(lambda scores: scores.clone(), binary=False)(torch.randn(2, 3)).shape == (2, 3)


def test_a_module_owns_what_is_learnt():
    layer = differentiable(TopK(2), temperature=nn.Parameter(torch.tensor(0.5)))
    model = nn.Sequential(nn.Linear(3, 6), layer)
    assert "1.gradient.step.log_beta" in model.state_dict()
    assert "1.temperature" in dict(model.named_parameters())
    model(torch.randn(4, 3)).square().mean(0).matmul(torch.arange(6.0)).backward()
    assert layer.temperature.grad is not None
    assert model[0].weight.grad.any()


def test_wrong_settings_are_named():
    with pytest.raises(TypeError, match="got the class AIMLE"):
        differentiable(TopK(3), AIMLE)
    with pytest.raises(TypeError, match="got LeaveOneOut; an estimator that calls"):
        differentiable(TopK(3), LeaveOneOut())
    with pytest.raises(ValueError, match="samples >= 1"):
        differentiable(TopK(3), samples=0)
    with pytest.raises(ValueError, match="samples >= 1"):
        differentiable(TopK(3))(torch.zeros(5), samples=-1)


def test_it_learns_to_choose():
    """A hundred steps towards a subset: scores of the right items rise above the others."""
    torch.manual_seed(0)
    layer, scores = differentiable(TopK(3), samples=4), nn.Parameter(torch.zeros(8, 10))
    target = TopK(3)(torch.randn(8, 10))
    optimizer = torch.optim.Adam([scores], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        ((layer(scores) - target) ** 2).sum(-1).mean(0).sum().backward()
        optimizer.step()
    assert torch.equal(layer.eval()(scores)[0], target)


def test_the_identity_is_the_gradient_of_the_answer():
    scores, dy = torch.randn(2, 3, 4, requires_grad=True), torch.randn(5, 2, 3, 4)
    costs = differentiable(lambda x: (x < 0).to(x.dtype), StraightThroughIdentity(), event_dim=2, maximize=False)
    costs(scores, samples=5).backward(dy)
    torch.testing.assert_close(scores.grad, -dy.sum(0))
    scores.grad = None
    projected = differentiable(lambda x: (x > 0).to(x.dtype), StraightThroughIdentity(project=True), event_dim=2)
    projected(scores, samples=5).backward(dy)
    torch.testing.assert_close(scores.grad, dy.sum(0) - dy.sum(0).mean((-2, -1), keepdim=True))


def test_an_exact_law_by_its_perturbation():
    scores = torch.randn(3, 6, requires_grad=True)
    gradient = ByPerturbation(IMLE(1.0), temperature=0.5)
    torch.manual_seed(0)
    value = gradient(KSubset(scores, 2), lambda z: z @ torch.arange(6.0), (4,))
    torch.manual_seed(0)
    z = PerturbAndMAP(scores, TopK(2), temperature=0.5, gradient=IMLE(1.0)).rsample((4,))
    assert torch.equal(value, z @ torch.arange(6.0))
    assert torch.equal(*(torch.autograd.grad(x.sum(), scores)[0] for x in (value, z @ torch.arange(6.0))))
    with pytest.raises(TypeError, match="such as KSubset, got Normal"):
        gradient.rsample(torch.distributions.Normal(0.0, 1.0))
    with pytest.raises(TypeError, match="perturbed already: take IMLE by itself"):  # or masks would be forgotten
        differentiable(TopK(2), gradient)(scores, mask=scores > 0)
