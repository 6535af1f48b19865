"""Assignments, rankings, knapsacks, chains, linear programs and the like: what the contract does not say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_discrete import load
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.stats import rankdata

from logprob.discrete.solvers.assignment import Assignment
from logprob.discrete.solvers.chain import Chain
from logprob.discrete.solvers.hypercube import Hypercube
from logprob.discrete.solvers.knapsack import Knapsack
from logprob.discrete.solvers.linear_program import LinearProgram
from logprob.discrete.solvers.one_of import OneOf
from logprob.discrete.solvers.ranking import Ranking
from logprob.distributions import IntractableError


def test_assignments_golden():
    golden = load("solvers")
    for name in ("assign", "assign_rect"):
        scores = golden[f"{name}_score"].double()
        assert torch.equal(Assignment()(scores), golden[f"{name}_z"].double())


def test_forbidden_pairs():
    scores = torch.tensor([[[1.0, 0.0], [5.0, 0.0]], [[-torch.inf, 0.0], [-torch.inf, 0.0]]])
    scores[0, 1, 0] = -torch.inf
    assert Assignment()(scores[0]).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(RuntimeError, match=r"instance 1: .*infeasible"):
        Assignment()(scores)


def test_ranks_are_ordinal():
    torch.manual_seed(0)
    scores = torch.randint(0, 5, (30, 9)).double()
    expected = [rankdata(row, method="ordinal") for row in scores.numpy()]
    assert np.array_equal(Ranking()(scores).numpy(), expected)


def test_rankings_are_assignments():
    torch.manual_seed(0)
    scores = torch.randn(10, 6, dtype=torch.float64)
    ranks = torch.arange(1, 7, dtype=torch.float64)
    permutation = Assignment()(scores.unsqueeze(-1) * ranks)
    assert torch.equal(permutation @ ranks, Ranking()(scores))


def test_knapsacks_against_integer_programming():
    torch.manual_seed(0)
    weights = tuple(torch.randint(0, 9, (15,)).tolist())
    solver = Knapsack(weights, capacity=20)
    for row in torch.randn(20, 15, dtype=torch.float64):
        fits = LinearConstraint(np.array(weights), ub=20)
        best = milp(-row.numpy(), constraints=fits, integrality=np.ones(15), bounds=Bounds(0, 1))
        z = solver(row)
        assert (z * row).sum().item() == pytest.approx(-best.fun, abs=1e-9)
        assert sum(w for w, taken in zip(weights, z.tolist(), strict=True) if taken) <= 20


def test_ties_of_knapsacks_go_to_the_first_items():
    assert Knapsack((1, 1, 1), 2)(torch.tensor([1.0, 1.0, 1.0])).tolist() == [1, 1, 0]
    assert Knapsack((1, 1), 2)(torch.tensor([0.0, -1.0])).tolist() == [0, 0]
    assert Knapsack((7,), 2)(torch.tensor([5.0])).tolist() == [0]
    assert Knapsack((), 2)(torch.zeros(3, 0)).shape == (3, 0)


def test_arguments_of_knapsacks():
    with pytest.raises(ValueError, match="weights and a capacity >= 0"):
        Knapsack((1, -1), 3)
    with pytest.raises(ValueError, match="values of 2 items, got 3"):
        Knapsack((1, 1), 3)(torch.zeros(3))


def test_chains_are_sequences():
    torch.manual_seed(0)
    z = Chain()(torch.randn(50, 6, 4, 4))
    assert (z.sum((-1, -2)) == 1).all()
    assert torch.equal(z[:, :-1].sum(-2), z[:, 1:].sum(-1))  # where a step arrives, the next one starts
    with pytest.raises(ValueError, match=r"\(\*batch, T, S, S\)"):
        Chain()(torch.zeros(3, 2, 4))


def test_infinities():
    scores = torch.tensor([-torch.inf, torch.inf, 0.0])
    assert OneOf()(scores).tolist() == [0, 1, 0]
    assert Hypercube()(scores).tolist() == [0, 1, 0]
    assert Ranking()(scores).tolist() == [1, 3, 2]


def test_linear_programs_that_have_no_answer():
    with pytest.raises(RuntimeError, match="instance 0"):
        LinearProgram(A=[[1.0]], b=[-1.0])(torch.ones(2, 1))
    with pytest.raises(RuntimeError, match="instance 1"):
        LinearProgram(upper=float("inf"))(torch.tensor([[-1.0], [1.0]]))


@pytest.mark.parametrize(
    ("solver", "shape"),
    [
        (Hypercube(), (30,)),
        (Ranking(), (12,)),
        (Chain(), (20, 3, 3)),
        (Assignment(), (12, 12)),
        (LinearProgram(), (2,)),
    ],
)
def test_too_many_states(solver, shape):
    with pytest.raises(IntractableError, match=type(solver).__name__):
        solver.states(shape)


def test_nothing_to_choose_from():
    with pytest.raises(ValueError, match="at least one"):
        OneOf()(torch.zeros(2, 0))
