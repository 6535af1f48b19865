"""Paths over grids and graphs against scipy and the golden files; walls, plateaus, negative costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_discrete import load
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import bellman_ford, dijkstra

from logprob.discrete.solvers.graph_path import EdgePath, GraphPath
from logprob.discrete.solvers.grid_path import GridPath
from logprob.discrete.solvers.relaxation import simple_paths
from logprob.distributions import IntractableError

INF = float("inf")


def cost_of_scipy(costs, neighbours):
    """Corner to corner: an edge costs as much as the cell that it leads to."""
    h, w = costs.shape
    cells = [(i, j) for i in range(h) for j in range(w)]
    near = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0) and (neighbours == 8 or a * b == 0)]
    edges = [
        (i * w + j, (i + a) * w + j + b, costs[i + a, j + b])
        for i, j in cells
        for a, b in near
        if 0 <= i + a < h and 0 <= j + b < w
    ]
    if not edges:
        return costs[0, 0]
    start, end, weight = zip(*edges, strict=True)
    graph = coo_matrix((weight, (start, end)), shape=(h * w, h * w)).tocsr()
    return costs[0, 0] + dijkstra(graph, indices=0)[-1]


def is_path(z, neighbours):
    """A chain of neighbours from corner to corner, found by walking over the marked cells."""
    cells = {tuple(cell) for cell in z.nonzero().tolist()}
    todo, h, w = [(0, 0)], *z.shape
    seen = set()
    while todo:
        i, j = todo.pop()
        if (i, j) not in cells or (i, j) in seen:
            continue
        seen.add((i, j))
        todo += [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if neighbours == 8 or a * b == 0]
    return seen == cells and (h - 1, w - 1) in seen


@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("kind", ["random", "terrain", "zeros"])
def test_grids_against_scipy(neighbours, kind):
    torch.manual_seed(0)
    for h, w in ((1, 1), (1, 5), (6, 1), (4, 7), (12, 12)):
        costs = torch.rand(8, h, w, dtype=torch.float64) * 9 + 0.1
        if kind == "terrain":
            costs = torch.tensor([0.8, 1.2, 5.3, 9.2]).double()[torch.randint(0, 4, (8, h, w))]
        elif kind == "zeros":
            costs = torch.randint(0, 2, (8, h, w)).double()
        for z, row in zip(GridPath(neighbours)(costs), costs, strict=True):
            assert is_path(z, neighbours)
            if kind == "zeros":  # scipy takes zero for no edge: a little more is enough for an edge
                assert (z * row).sum() == pytest.approx(cost_of_scipy(row.numpy() + 1e-9, neighbours), abs=1e-6)
            else:
                assert (z * row).sum() == pytest.approx(cost_of_scipy(row.numpy(), neighbours), abs=1e-9)


def test_grids_golden():
    golden = load("solvers")
    names = sorted({name.split("_")[0] for name in golden if name.startswith("grid")})
    assert names
    for name in names:
        costs = golden[f"{name}_cost"].double()
        for neighbours in (4, 8):
            z = GridPath(neighbours)(costs)
            torch.testing.assert_close((z * costs).sum((-1, -2)), golden[f"{name}_total_c{neighbours}"].double())
            assert torch.equal(z, golden[f"{name}_path_c{neighbours}"].double())
    tied = golden["tied_cost"].double()
    for neighbours in (4, 8):
        total = golden[f"tied_total_c{neighbours}"].double()
        torch.testing.assert_close((GridPath(neighbours)(tied) * tied).sum((-1, -2)), total)


def test_plateaus_have_no_circles():
    costs = torch.zeros(1, 9, 9)
    costs[0, 1:, 4] = INF  # round a wall, where every way costs nothing
    z = GridPath(4)(costs)
    assert z.sum() == 17
    assert is_path(z[0], 4)
    tiny = torch.full((1, 9, 9), 1e-20)
    tiny[0, 0, 0] = 1e8  # all that follows vanishes in rounding
    assert GridPath(8)(tiny).sum() == 9


def test_walls_and_negative_costs():
    costs = torch.ones(3, 2, 3)
    costs[1, :, 1] = INF
    with pytest.raises(ValueError, match=r"instance 1: .*goal within reach"):
        GridPath()(costs)
    costs[1, :, 1], costs[2, 0, 1] = 1.0, -0.5
    with pytest.raises(ValueError, match=r"instance 2: costs must be >= 0.*; a floor raises"):
        GridPath()(costs)
    assert torch.equal(GridPath(floor=0.0)(costs), GridPath()(costs.clamp(min=0)))
    costs[:, 0, 0] = INF
    with pytest.raises(ValueError, match="instance 0"):
        GridPath(floor=0.0)(costs)


def test_arguments_of_grids():
    for wrong in ({"neighbours": 6}, {"floor": -1.0}):
        with pytest.raises(ValueError, match="expected"):
            GridPath(**wrong)
    with pytest.raises(ValueError, match="cell of the 2 x 2 grid"):
        GridPath(goal=(2, 0))(torch.ones(2, 2))
    assert GridPath(goal=(0, 0))(torch.ones(2, 2)).tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("negative", [False, True])
def test_graphs_against_scipy(negative):
    """Potentials make costs negative, but no circle: they cancel."""
    torch.manual_seed(0)
    for n in (2, 5, 15, 40):
        costs = (torch.rand(8, n, n, dtype=torch.float64) + 0.01).masked_fill(torch.rand(8, n, n) < 0.6, INF)
        costs[:, 0, -1] = 5.0
        if negative:
            potential = 3 * torch.randn(8, n, dtype=torch.float64)
            costs = costs + potential.unsqueeze(-1) - potential.unsqueeze(-2)
        for z, row in zip(GraphPath()(costs), costs, strict=True):
            edges = row.masked_fill(torch.eye(n) > 0, INF)
            start, end = edges.isfinite().nonzero().T.numpy()
            graph = csr_matrix((edges[start, end].numpy(), (start, end)), shape=(n, n))
            expected = bellman_ford(graph, indices=0)[-1]
            assert row[z > 0].sum() == pytest.approx(expected, abs=1e-9)
            balance = z.sum(1) - z.sum(0)  # one edge out of the start, one into the goal, elsewhere as many as out
            assert balance.tolist() == [1.0, *[0.0] * (n - 2), -1.0]


def test_graphs_golden():
    golden = load("solvers")
    weights, distance = golden["graph_weights"].double(), golden["graph_dist_from0"].double()
    costs = weights.masked_fill(weights == 0, INF)
    for goal in range(weights.shape[-1]):
        reached = distance[:, goal].isfinite()
        z = GraphPath(goal=goal)(costs[reached])
        total = (z * weights[reached]).sum((-1, -2))
        torch.testing.assert_close(total, distance[reached, goal], rtol=1e-9, atol=1e-9)
        if not reached.all():
            with pytest.raises(ValueError, match="within reach"):
                GraphPath(goal=goal)(costs)


def test_circles_of_graphs():
    costs = torch.full((1, 4, 4), INF)
    costs[0, 0, 1], costs[0, 1, 2], costs[0, 2, 1], costs[0, 2, 3] = 1.0, 2.0, -2.0, 1.0
    assert GraphPath()(costs).nonzero().tolist() == [[0, 0, 1], [0, 1, 2], [0, 2, 3]]  # a circle that costs nothing
    costs[0, 2, 1] = -2.5
    with pytest.raises(ValueError, match="negative cost"):
        GraphPath()(costs)
    assert torch.func.vmap(GraphPath())(costs).isnan().all()
    assert GraphPath(goal=0)(torch.ones(3, 3)).sum() == 0  # already there


def test_arguments_of_graphs():
    with pytest.raises(ValueError, match="square"):
        GraphPath()(torch.ones(2, 3))
    with pytest.raises(ValueError, match="one of the 3 vertices, got 3"):
        GraphPath(goal=3)(torch.ones(3, 3))
    for edges in ((), ((0, 1), (0, 1)), ((1, 1),), ((-1, 0),)):
        with pytest.raises(ValueError, match="different pairs"):
            EdgePath(edges)
    with pytest.raises(ValueError, match="costs of 2 edges, got 3"):
        EdgePath(((0, 1), (1, 2)))(torch.ones(3))


def test_too_many_paths():
    with pytest.raises(IntractableError, match="paths"):
        GridPath().states((6, 6))
    assert len(list(simple_paths({0: [1, 2], 1: [2], 2: [0]}, 0, 2))) == 2


def test_low_precision_is_summed_in_float32():
    torch.manual_seed(0)
    costs = torch.rand(4, 12, 12).bfloat16()
    assert torch.equal(GridPath()(costs).float(), GridPath()(costs.float()))
    assert np.isclose((GridPath()(costs).float() * costs.float()).sum((-1, -2))[0], cost_of_scipy(costs[0].float(), 8))
