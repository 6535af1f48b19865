"""Every solver keeps the contract: shapes, types, ties, neighbours, copies, transforms, and the best of all states."""

from __future__ import annotations

import pytest
import torch

from logprob.discrete.solvers.arborescence import Arborescence
from logprob.discrete.solvers.assignment import Assignment
from logprob.discrete.solvers.chain import Chain
from logprob.discrete.solvers.graph_path import EdgePath, GraphPath
from logprob.discrete.solvers.grid_path import GridPath
from logprob.discrete.solvers.hypercube import Hypercube
from logprob.discrete.solvers.knapsack import Knapsack
from logprob.discrete.solvers.linear_program import LinearProgram
from logprob.discrete.solvers.one_of import OneOf
from logprob.discrete.solvers.ranking import Ranking
from logprob.discrete.solvers.spanning_tree import SpanningTree
from logprob.discrete.solvers.top_k import TopK, TopKWithTies
from logprob.testing import check_solver

EDGES = ((0, 1), (0, 2), (1, 2), (2, 1), (1, 3), (2, 3), (3, 4), (0, 4))
SOLVERS = {
    "arborescence": (Arborescence(), (4, 4)),
    "arborescence of five": (Arborescence(root=-1), (5, 5)),
    "assignment": (Assignment(), (4, 4)),
    "wide assignment": (Assignment(), (2, 4)),
    "tall assignment": (Assignment(), (4, 3)),
    "chain": (Chain(), (3, 2, 2)),
    "chain of one": (Chain(), (1, 3, 3)),
    "graph path": (GraphPath(), (5, 5)),
    "graph path between": (GraphPath(start=-1, goal=1), (4, 4)),
    "edge path": (EdgePath(EDGES), (len(EDGES),)),
    "grid path": (GridPath(), (3, 3)),
    "grid path of 4": (GridPath(4), (3, 4)),
    "grid path between": (GridPath(start=(1, 1), goal=(0, 2)), (3, 3)),
    "hypercube": (Hypercube(), (5,)),
    "knapsack": (Knapsack((2, 3, 0, 1, 4), 5), (5,)),
    "one of": (OneOf(), (4,)),
    "ranking": (Ranking(), (4,)),
    "spanning tree": (SpanningTree(), (10,)),
    "spanning forest": (SpanningTree(forest=True), (10,)),
    "top k": (TopK(2), (5,)),
}


def scores_of(shape, seed, positive=False):
    """Some without ties, some with many, one with nothing else."""
    torch.manual_seed(seed)
    scores = torch.cat([torch.randn(4, *shape), torch.randint(-1, 2, (4, *shape)).float(), torch.zeros(1, *shape)])
    return scores.abs() if positive else scores


@pytest.mark.parametrize("name", SOLVERS)
def test_keeps_the_contract(name):
    solver, shape = SOLVERS[name]
    check_solver(solver, scores_of(shape, 0, positive=not solver.maximize))


@pytest.mark.parametrize("name", SOLVERS)
def test_best_of_all_states(name):
    solver, shape = SOLVERS[name]
    scores = torch.cat([scores_of(shape, seed, positive=not solver.maximize) for seed in range(1, 30)]).double()
    states = solver.states(shape).double()
    assert len(states) == len(states.unique(dim=0))
    sign = 1 if solver.maximize else -1
    best = (sign * scores.flatten(1) @ states.flatten(1).T).amax(-1)
    torch.testing.assert_close(sign * (scores * solver(scores)).flatten(1).sum(-1), best)


def test_top_k_with_ties_keeps_the_contract():
    check_solver(TopKWithTies(2), scores_of((5,), 0))
    assert TopKWithTies(2)(torch.zeros(3)).sum() == 3
    for k in (0, 4):
        with pytest.raises(ValueError, match="1 <= k <= 3"):
            TopKWithTies(k)(torch.zeros(3))


def test_linear_program_keeps_the_contract():
    program = LinearProgram(A=[[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], b=[1.0, 1.0])  # an interval matrix: integer corners
    states = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]])
    check_solver(program, torch.randn(6, 3), states)
    check_solver(LinearProgram(E=[[1.0, 1.0, 1.0]], f=[1.0], maximize=False), torch.randn(6, 3), torch.eye(3))


@pytest.mark.parametrize(
    ("solver", "shape", "instance"),
    [
        (TopK(2), (4,), {"k": torch.tensor([0, 1, 2, 4] * 2 + [3])}),
        (TopK(2), (4,), {"mask": torch.arange(4) < torch.tensor([0, 1, 2, 3, 4] * 2)[:9, None]}),
        (GridPath(), (3, 3), {"start": torch.randint(0, 3, (9, 2)), "goal": torch.randint(-3, 3, (9, 2))}),
        (GraphPath(), (4, 4), {"start": torch.randint(0, 4, (9,)), "goal": torch.randint(0, 4, (9,))}),
        (EdgePath(EDGES), (8,), {"goal": torch.tensor([1, 2, 3, 4] * 2 + [0])}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arguments_of_instances(solver, shape, instance):
    check_solver(solver, scores_of(shape, 0, positive=not solver.maximize), instance=instance)


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "graph path between"])
def test_nan_is_never_masked(name):
    solver, shape = SOLVERS[name]
    scores = scores_of(shape, 0, positive=not solver.maximize)
    scores[3].view(-1)[1] = torch.nan  # off the diagonal of a matrix
    with pytest.raises((ValueError, RuntimeError), match="instance 3"):
        solver(scores)
    if solver.in_torch:
        mapped = torch.func.vmap(solver)(scores).flatten(1).isnan()
        assert mapped.any(-1).tolist() == [row == 3 for row in range(9)]
        assert mapped[3].all()


def test_unknown_arguments_of_an_instance_are_refused() -> None:
    with pytest.raises(TypeError, match="TopK knows no argument of an instance named maks"):
        TopK(2)(torch.zeros(3), maks=torch.ones(3, dtype=torch.bool))
    with pytest.raises(TypeError, match="OneOf knows no argument of an instance named mask"):
        OneOf()(torch.zeros(3), mask=torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize("k", [-1, 4])
def test_every_row_can_have_its_own_k_within_the_items(k: int) -> None:
    with pytest.raises(ValueError, match="instance 1: expected 0 <= k <= 3"):
        TopK(1)(torch.zeros(2, 3), k=torch.tensor([1, k]))
