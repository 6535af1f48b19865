"""Spanning trees against scipy, the golden files and all trees of small graphs."""

from __future__ import annotations

import pytest
import torch
from golden_discrete import load
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from logprob.discrete.solvers.spanning_tree import SpanningTree, edges_of, matrix_of, vertices
from logprob.distributions import IntractableError

INF = float("inf")


def total_of_scipy(scores):
    """Weight of the maximum tree. scipy minimises and takes zero for no edge: the scores are turned and shifted."""
    shift = scores.max() + 1
    costs = matrix_of(shift - scores).numpy()
    n = len(costs)
    return (n - 1) * shift - minimum_spanning_tree(costs).sum()


def is_tree(z):
    return connected_components(matrix_of(z).numpy(), directed=False)[0] == 1 and z.sum() == vertices(len(z)) - 1


@pytest.mark.parametrize("tied", [False, True])
def test_exact_against_scipy(tied):
    torch.manual_seed(0)
    for n in range(2, 31, 4):
        shape = (10, n * (n - 1) // 2)
        scores = torch.randint(0, 4, shape).double() if tied else torch.randn(shape, dtype=torch.float64)
        for z, row in zip(SpanningTree()(scores), scores, strict=True):
            assert is_tree(z)
            assert (z * row).sum() == pytest.approx(float(total_of_scipy(row)), abs=1e-9)


def test_golden():
    golden = load("trees")
    names = [name.removesuffix("_weights") for name in golden if name.startswith("mst_n") and name.endswith("_weights")]
    assert names
    for name in names:
        weights = golden[f"{name}_weights"].double()
        assert torch.equal(SpanningTree()(weights), golden[f"{name}_tree"].double())
    tied = golden["mst_tied_n8_weights"].double()
    assert torch.equal((SpanningTree()(tied) * tied).sum(-1), golden["mst_tied_n8_total"].double())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_states_are_all_trees(n):
    states = SpanningTree().states((n * (n - 1) // 2,))
    assert len(states) == len({tuple(z) for z in states.tolist()}) == max(1, n ** (n - 2))
    assert all(is_tree(z) for z in states[:200])
    scores = torch.randn(30, states.shape[-1], dtype=torch.float64)
    best = (scores @ states.double().T).max(-1).values
    torch.testing.assert_close((SpanningTree()(scores) * scores).sum(-1), best)


def test_too_many_states():
    with pytest.raises(IntractableError, match="more than"):
        SpanningTree().states((45,))


def test_missing_edges():
    scores = torch.full((2, 6), -INF)
    scores[0, [0, 5]] = torch.tensor([1.0, -2.0])  # the edges 01 and 23: two components
    scores[1, [0, 1, 2]] = -3.0  # a star
    assert SpanningTree(forest=True)(scores).tolist() == [[1, 0, 0, 0, 0, 1], [1, 1, 1, 0, 0, 0]]
    assert SpanningTree()(scores[1]).tolist() == [1, 1, 1, 0, 0, 0]
    with pytest.raises(ValueError, match=r"instance 0: .*no spanning tree"):
        SpanningTree()(scores)
    assert torch.vmap(SpanningTree())(scores).isnan().all(-1).tolist() == [True, False]


def test_certain_edges():
    scores = torch.zeros(2, 6)
    scores[:, [3, 4]] = INF
    assert (SpanningTree()(scores)[:, [3, 4]] == 1).all()


def test_nan():
    with pytest.raises(ValueError, match="NaN"):
        SpanningTree(forest=True)(torch.tensor([1.0, torch.nan, 0.0]))


def test_edges_and_matrices():
    matrix = torch.randn(2, 3, 5, 5, requires_grad=True)
    edges = edges_of(matrix)
    assert torch.equal(edges_of(matrix_of(edges)), edges)
    (gradient,) = torch.autograd.grad(edges.sum(), matrix)
    assert torch.equal(gradient, (0.5 * (1 - torch.eye(5))).expand_as(gradient))
    assert [vertices(n * (n - 1) // 2) for n in range(1, 200)] == list(range(1, 200))
    with pytest.raises(ValueError, match="complete graph, got 4"):
        SpanningTree()(torch.zeros(4))
    with pytest.raises(ValueError, match="square"):
        edges_of(torch.zeros(2, 3))


def test_compiles_and_maps():
    torch.compiler.reset()
    scores = torch.randint(0, 3, (4, 3, 15)).float()
    expected = SpanningTree()(scores)
    compiled = torch.compile(SpanningTree(), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(scores), expected)
    assert torch.equal(torch.vmap(torch.vmap(SpanningTree()))(scores), expected)
    assert expected.isfinite().all()
