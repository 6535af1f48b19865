"""Arborescences against the golden files and a plain recursion."""

from __future__ import annotations

import pytest
import torch
from golden_discrete import load

from logprob.discrete.solvers.arborescence import Arborescence

INF = float("inf")


def best_total(scores, root):
    """Edmonds by recursion on one graph, in plain Python: the slow and obvious version."""
    vertices = {v for edge in scores for v in edge}
    into = {}
    for (i, j), score in scores.items():
        if j != root and (j not in into or score > scores[into[j], j]):
            into[j] = i
    for first in vertices - {root}:
        circle, at = [], first
        while at != root and at not in circle:
            circle.append(at)
            at = into[at]
        if at != root and at == first:
            break
    else:
        return sum(scores[i, j] for j, i in into.items())
    inside, total = max(vertices) + 1, sum(scores[into[v], v] for v in circle)
    merged = {}
    for (i, j), score in scores.items():
        if i in circle and j in circle:
            continue
        gain = score - scores[into[j], j] if j in circle else score
        edge = (inside if i in circle else i, inside if j in circle else j)
        merged[edge] = max(gain, merged.get(edge, -INF))
    return total + best_total(merged, root)


def is_arborescence(z, root):
    n = len(z)
    reached = torch.eye(n, dtype=z.dtype)[root]
    for _ in range(n):
        reached = ((reached + reached @ z) > 0).to(z.dtype)
    return bool(reached.all()) and z.sum(0).tolist() == [float(v != root) for v in range(n)]


def test_golden():
    golden = load("trees")
    weights = golden["arb5_weights"].double()
    z = Arborescence()(weights)
    torch.testing.assert_close(z, golden["arb5_map"].double())


@pytest.mark.parametrize("tied", [False, True])
def test_against_recursion(tied):
    torch.manual_seed(0)
    for n in (2, 3, 6, 12, 25):
        root = int(torch.randint(0, n, ()))
        scores = torch.randint(0, 3, (20, n, n)).double() if tied else torch.randn(20, n, n, dtype=torch.float64)
        for z, row in zip(Arborescence(root)(scores), scores, strict=True):
            assert is_arborescence(z, root)
            edges = {(i, j): row[i, j].item() for i in range(n) for j in range(n) if i != j}
            assert (z * row).sum().item() == pytest.approx(best_total(edges, root), abs=1e-9)


def test_nested_circles():
    """Pairs within pairs: 0 is far off, every round makes larger circles."""
    n = 9
    scores = torch.full((n, n), -100.0)
    for i in range(1, n):
        for j in range(1, n):
            scores[i, j] = -float(((i - 1) ^ (j - 1)).bit_length())
    z = Arborescence()(scores)
    assert is_arborescence(z, 0)
    assert (z * scores).sum() == -100 - 4 * 1 - 2 * 2 - 1 * 3


def test_missing_edges():
    scores = torch.full((2, 4, 4), -INF)
    scores[:, 0, 2], scores[:, 2, 1], scores[:, 1, 3], scores[:, 3, 1] = 1.0, -5.0, 2.0, 9.0
    scores[1, 0, 2] = -INF
    assert Arborescence()(scores[0]).nonzero().tolist() == [[0, 2], [1, 3], [2, 1]]
    with pytest.raises(ValueError, match=r"instance 1: .*within reach"):
        Arborescence()(scores)
    assert torch.func.vmap(Arborescence())(scores).isnan().flatten(1).all(-1).tolist() == [False, True]


def test_one_vertex_and_errors():
    assert Arborescence()(torch.ones(2, 1, 1)).tolist() == [[[0.0]], [[0.0]]]
    with pytest.raises(ValueError, match="square"):
        Arborescence()(torch.ones(2, 3))
    with pytest.raises(ValueError, match="row 3"):
        Arborescence(3)(torch.ones(3, 3))
    with pytest.raises(ValueError, match="no \\+inf"):
        Arborescence()(torch.tensor([[0.0, INF], [0.0, 0.0]]))
