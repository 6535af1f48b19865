"""Perturbed optimisers and the Fenchel-Young loss against reference files and exact laws."""

import pickle

import golden_discrete
import pytest
import torch
from given_noise import Given

from logprob.discrete.fenchel_young import FenchelYoung
from logprob.discrete.log_scores import OfLogScores
from logprob.discrete.noise import Gumbel, Logistic, Normal
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.perturbed import PerturbedOptimizer
from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.one_of import OneOf
from logprob.discrete.solvers.top_k import TopK
from logprob.discrete.sum_of_gamma import SumOfGamma
from logprob.distributions import IntractableError

REDUCTIONS = [None, "leave-one-out", "antithetic"]


class Counting(Solver):
    """Counts the rows that it is asked about."""

    def __init__(self, solver) -> None:
        self.solver, self.rows = solver, 0

    def __call__(self, scores, **instance):
        self.rows += len(scores)
        return self.solver(scores, **instance)


class Cheapest(Solver):
    """The k cheapest."""

    maximize = False

    def __init__(self, k) -> None:
        self.top = TopK(k)

    def __call__(self, scores, **instance):
        return self.top(-scores, **instance)


def softmax_gradient(scores, weights):
    """Gradient of ``E <weights, z>`` for z one of n of probabilities softmax(scores)."""
    p = scores.softmax(-1)
    return p * (weights - (p * weights).sum(-1, keepdim=True))


@pytest.mark.parametrize("name", ["normal", "gumbel"])
@pytest.mark.parametrize("file", ["s1", "s6"])
def test_layer_and_loss_of_the_reference(file, name) -> None:
    golden = golden_discrete.load(f"estimators_topk_{file}")
    noise = Given(golden[f"perturbed_{name}_noise"], {"normal": Normal(), "gumbel": Gumbel()}[name])
    scores = golden["theta"].clone().requires_grad_()
    q = PerturbAndMAP(scores, TopK(int(golden["k"])), noise, 0.7, PerturbedOptimizer())
    y = q.rsample((len(noise.numbers),)).mean(0)
    torch.testing.assert_close(y.detach(), golden[f"perturbed_{name}_y"], atol=1e-10, rtol=0)
    (gradient,) = torch.autograd.grad(y, scores, golden[f"perturbed_{name}_dy"])
    torch.testing.assert_close(gradient, golden[f"perturbed_{name}_grad"], atol=1e-10, rtol=0)

    loss = FenchelYoung(len(noise.numbers))(q, golden[f"fy_{name}_target"])
    torch.testing.assert_close(loss.detach(), golden[f"fy_{name}_value"], atol=1e-10, rtol=0)
    (gradient,) = torch.autograd.grad(loss.sum(), scores)
    torch.testing.assert_close(gradient, golden[f"fy_{name}_grad"], atol=1e-10, rtol=0)


@pytest.mark.parametrize("reduction", [None, "leave-one-out"])
def test_mean_gradient_is_that_of_the_categorical_law(reduction) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 4, generator=generator).requires_grad_()
    temperature = torch.tensor(0.8, requires_grad=True)
    weights = torch.randn(2, 4, generator=generator)
    gradient = PerturbedOptimizer(reduction)
    q = PerturbAndMAP(scores, OneOf(), Gumbel(), temperature, gradient, generator=generator)
    ((q.rsample((200_000,)) * weights).sum() / 200_000).backward()

    exact = scores.detach().clone().requires_grad_(), temperature.detach().clone().requires_grad_()
    ((exact[0] / exact[1]).softmax(-1) * weights).sum().backward()
    torch.testing.assert_close(scores.grad, exact[0].grad, atol=0.02, rtol=0)
    torch.testing.assert_close(temperature.grad, exact[1].grad, atol=0.04, rtol=0)


def test_second_derivatives_are_those_of_the_categorical_law() -> None:
    weights = torch.tensor([1.0, -1.0, 2.0])

    def hessian_row(value, scores):
        (gradient,) = torch.autograd.grad(value, scores, create_graph=True)
        return torch.autograd.grad(gradient[0], scores)[0]

    scores = torch.tensor([0.3, 0.0, -0.4], requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    q = PerturbAndMAP(scores, OneOf(), gradient=PerturbedOptimizer(), generator=generator)
    estimate = hessian_row(q.rsample((500_000,)).mean(0) @ weights, scores)
    torch.testing.assert_close(estimate, hessian_row(scores.softmax(-1) @ weights, scores), atol=0.03, rtol=0)


@pytest.mark.parametrize("noise", [Normal(), Logistic()])
def test_variance_is_reduced_and_the_mean_kept(noise) -> None:
    weights = torch.tensor([3.0, 4.0, 5.0, 7.0])
    scores = torch.zeros(20_000, 4, requires_grad=True)  # many instances of four samples each
    rows = {}
    for reduction in REDUCTIONS:
        generator = torch.Generator().manual_seed(1)
        q = PerturbAndMAP(scores, TopK(2), noise, 0.5, PerturbedOptimizer(reduction), generator=generator)
        (rows[reduction],) = torch.autograd.grad((q.rsample((4,)).mean(0) @ weights).sum(), scores)
    plain = rows[None]
    for row in (rows["leave-one-out"], rows["antithetic"]):
        assert row.var(0).sum() < 0.5 * plain.var(0).sum()
        error = (row.mean(0) - plain.mean(0)) / (plain.var(0) / len(plain) + row.var(0) / len(row)).sqrt()
        assert error.abs().max() < 4


def test_pairs_have_opposite_noise() -> None:
    scores = torch.zeros(3, 6)
    z = PerturbAndMAP(scores, TopK(3), Normal(), gradient=PerturbedOptimizer("antithetic")).rsample((8,))
    assert torch.equal(z[:4], 1 - z[4:])


def test_minimising_is_maximising_the_negative() -> None:
    costs = torch.tensor([0.3, -0.2, 1.0, 0.5], requires_grad=True)
    numbers = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    weights, target = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    low = PerturbAndMAP(costs, Cheapest(2), Given(numbers, Normal()), gradient=PerturbedOptimizer())
    high = PerturbAndMAP(-costs, TopK(2), Given(-numbers, Normal()), gradient=PerturbedOptimizer())
    for ask in (lambda q: q.rsample((50,)).mean(0) @ weights, lambda q: FenchelYoung(50)(q, target)):
        values = [ask(q) for q in (low, high)]
        torch.testing.assert_close(*values)
        torch.testing.assert_close(*(torch.autograd.grad(value, costs) for value in values))


def test_one_solve_a_sample() -> None:
    solver = Counting(TopK(2))
    scores = torch.randn(3, 5, requires_grad=True)
    q = PerturbAndMAP(scores, solver, gradient=PerturbedOptimizer())
    q.rsample((4,)).sum().backward()
    assert solver.rows == 12
    FenchelYoung(4)(q, TopK(2)(scores)).sum().backward()
    assert solver.rows == 24


def test_what_cannot_be_done_is_said() -> None:
    scores = torch.zeros(3)
    with pytest.raises(IntractableError, match="noise"):
        PerturbAndMAP(scores, TopK(1), None, gradient=PerturbedOptimizer()).rsample()
    with pytest.raises(IntractableError, match="closed form"):
        PerturbAndMAP(scores, TopK(1), SumOfGamma(2), gradient=PerturbedOptimizer()).rsample()
    with pytest.raises(ValueError, match="symmetric"):
        PerturbAndMAP(scores, TopK(1), Gumbel(), gradient=PerturbedOptimizer("antithetic")).rsample((2,))
    with pytest.raises(ValueError, match="even"):
        PerturbAndMAP(scores, TopK(1), Normal(), gradient=PerturbedOptimizer("antithetic")).rsample((3,))
    with pytest.raises(ValueError, match="at least 2"):
        PerturbAndMAP(scores, TopK(1), gradient=PerturbedOptimizer("leave-one-out")).rsample((1,))
    with pytest.raises(ValueError, match="variance_reduction"):
        PerturbedOptimizer("centred")
    with pytest.raises(ValueError, match="samples"):
        FenchelYoung(0)
    with pytest.raises(ValueError, match=r"target of shape \(3,\)"):
        FenchelYoung()(PerturbAndMAP(scores, TopK(1)), torch.zeros(2, 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_types_are_kept(dtype) -> None:
    scores = torch.randn(3, 5, dtype=dtype, requires_grad=True)
    q = PerturbAndMAP(scores, TopK(2), gradient=PerturbedOptimizer("leave-one-out"))
    z = q.rsample((6,))
    loss = FenchelYoung(6)(q, z[0].detach())
    assert z.dtype == loss.dtype == dtype
    (z.sum() + loss.sum()).backward()
    assert scores.grad.dtype == dtype


def test_transforms_of_functions() -> None:
    target = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])

    def value(scores, gradient):
        q = PerturbAndMAP(scores, TopK(2), Normal(), gradient=gradient)
        return (q.rsample((4,)).mean(0) * torch.arange(5.0)).sum() + FenchelYoung(4)(q, target).sum()

    scores = torch.randn(5)
    for reduction in REDUCTIONS:
        gradient = PerturbedOptimizer(reduction)
        assert torch.func.grad(value)(scores, gradient).isfinite().all()
        mapped = torch.vmap(torch.func.grad(value), in_dims=(0, None), randomness="different")
        assert mapped(scores.expand(3, 5), gradient).unique(dim=0).shape == (3, 5)
        leaf = scores.clone().requires_grad_()
        torch.compile(value, backend="aot_eager", fullgraph=True)(leaf, gradient).backward()
        assert leaf.grad.isfinite().all()
        assert pickle.loads(pickle.dumps(gradient)).variance_reduction == reduction


def test_loss_is_least_at_the_mean_of_the_answers() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 6, generator=generator, requires_grad=True)
    target = torch.tensor([0.6, 0.3, 0.1, 0.0, 0.5, 0.5]).expand(4, 6)  # two ones in the mean
    for _ in range(300):
        q = PerturbAndMAP(scores, TopK(2), Normal(), generator=generator)
        (gradient,) = torch.autograd.grad(FenchelYoung(200)(q, target).sum(), scores)
        scores = (scores - 0.5 * gradient).detach().requires_grad_()
    answers = PerturbAndMAP(scores, TopK(2), Normal(), generator=generator).sample((5000,)).mean(0)
    torch.testing.assert_close(answers, target, atol=0.05, rtol=0)


def test_residual_has_the_gradient_of_the_loss() -> None:
    scores = torch.randn(3, 5, requires_grad=True)
    target = TopK(2)(torch.randn(3, 5))
    q = PerturbAndMAP(scores, TopK(2), Given(torch.randn(7, 3, 5), Normal()), 0.5)
    loss, residual = FenchelYoung(7)(q, target), FenchelYoung(7, "residual")(q, target)
    gradients = [torch.autograd.grad(value.sum(), scores)[0] for value in (loss, residual)]
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(residual.detach(), gradients[0].square().sum(-1))


def test_items_left_out_by_infinite_scores() -> None:
    scores = torch.tensor([0.5, 0.0, -torch.inf, 0.2], requires_grad=True)
    loss = FenchelYoung(8)(PerturbAndMAP(scores, TopK(2)), torch.tensor([1.0, 1.0, 0.0, 0.0]))
    loss.backward()
    assert loss.isfinite()
    assert scores.grad[2] == 0
    assert scores.grad.isfinite().all()


def test_multiplied_costs() -> None:
    costs = torch.tensor([[0.5, 1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    numbers, sigma = torch.randn(400, 1, 3, dtype=torch.float64), 0.6
    solver = OfLogScores(Cheapest(1))
    assert not solver.maximize
    q = PerturbAndMAP(costs.log(), solver, Given(numbers, Normal()), sigma, PerturbedOptimizer())
    z = q.rsample((400,))
    assert torch.equal(z.detach(), Cheapest(1)(costs * (sigma * numbers - sigma**2 / 2).exp()))
    weights = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad((z.mean(0) @ weights).sum(), costs)
    expected = ((z @ weights).unsqueeze(-1) * numbers).mean(0) / (sigma * costs)
    torch.testing.assert_close(gradient, expected.detach())
