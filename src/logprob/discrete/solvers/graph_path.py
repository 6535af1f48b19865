"""The cheapest path along the edges of a directed graph."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.refusal import check_scores, refuse
from logprob.discrete.solvers.relaxation import relax, simple_paths, trace

_NO_PATH = "expected no NaN or -inf, a goal within reach, and no circle of negative cost on the way"


@dataclass(frozen=True)
class GraphPath(Solver):
    """Indicator of the edges of a cheapest path, ``argmin <z, costs>`` over the paths from start to goal.

    An instance is a matrix of costs, shape ``(n, n)``, whose entry ``[i, j]`` is the cost of the edge from i to j, +inf
    for no edge; the diagonal is not used. Costs may be negative, but for circles. Bellman's relaxation of all instances
    at once, O(n^2) a step, as many steps as the path has edges. Of equally good ways to a vertex the one by the vertex
    that was reached in the fewest steps is taken, then that of lowest index.

    The optional instance arguments ``start`` and ``goal`` are integers of the batch shape.

    Args:
        start: vertex where paths begin; negative ones count from the end.
        goal: where they end.

    Raises:
        ValueError: if the goal is out of reach, a circle on the way has negative cost, or a cost is NaN or -inf. Where
            Python cannot look, as in compiled code, its answer is NaN.

    References:
        Bellman, *On a routing problem*, Quarterly of Applied Mathematics 1958.

    Example:
        >>> import torch
        >>> inf = torch.inf
        >>> GraphPath()(torch.tensor([[inf, 2.0, 5.0], [inf, inf, 2.0], [inf, inf, inf]]))
        tensor([[0., 1., 0.],
                [0., 0., 1.],
                [0., 0., 0.]])
    """

    event_dim = 2
    maximize = False

    start: int = 0
    goal: int = -1

    def __call__(
        self, scores: Tensor, *, start: Tensor | None = None, goal: Tensor | None = None, **unknown: Any
    ) -> Tensor:
        """Solve every instance; see the class."""
        check_scores(self, scores, 2, unknown)
        n = scores.shape[-1]
        if scores.shape[-2] != n or n == 0:
            raise ValueError(f"expected square matrices of costs, got shape {tuple(scores.shape)}")
        costs = scores.detach().reshape(-1, n, n)
        costs = costs.masked_fill(torch.eye(n, dtype=torch.bool, device=costs.device), torch.inf)
        first = _vertex(self.start if start is None else start, costs)
        last = _vertex(self.goal if goal is None else goal, costs)
        z, reached = _solve(costs.float() if costs.dtype.itemsize < 4 else costs, first, last)
        wrong = ~reached | ~(costs > -torch.inf).flatten(1).all(-1)
        z = z.to(scores.dtype).reshape(scores.shape)
        return refuse(z, wrong.reshape(scores.shape[:-2]), _NO_PATH)

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All paths of the complete graph that meet no vertex twice."""
        n = event_shape[-1]
        paths = simple_paths({i: [j for j in range(n) if j != i] for i in range(n)}, self.start % n, self.goal % n)
        states = []
        for path in paths:
            states.append(torch.zeros(n, n))
            states[-1][path[:-1], path[1:]] = 1.0
        return torch.stack(states)


@dataclass(frozen=True)
class EdgePath(Solver):
    """`GraphPath` of one graph for all instances, given by its edges: a vector of their costs is an instance.

    Args:
        edges: pairs (from, to) of vertices 0, 1, ..., none twice; the costs are in their order.
        start: vertex where paths begin; negative ones count from the end.
        goal: where they end.

    Raises:
        ValueError: as `GraphPath`, or if an edge is given twice or leads nowhere.

    Example:
        >>> import torch
        >>> EdgePath(((0, 1), (0, 2), (1, 2)))(torch.tensor([2.0, 5.0, 2.0]))
        tensor([1., 0., 1.])
    """

    maximize = False

    edges: tuple[tuple[int, int], ...]
    start: int = 0
    goal: int = -1

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple((int(i), int(j)) for i, j in self.edges))
        wrong = any(i == j or min(i, j) < 0 for i, j in self.edges)
        if wrong or not self.edges or len(set(self.edges)) < len(self.edges):
            raise ValueError(f"expected different pairs of different vertices, got {self.edges}")

    @property
    def vertices(self) -> int:
        """One more than the highest index."""
        return 1 + max(map(max, self.edges))

    def __call__(
        self, scores: Tensor, *, start: Tensor | None = None, goal: Tensor | None = None, **unknown: Any
    ) -> Tensor:
        """Solve every instance; see the class."""
        check_scores(self, scores, 1, unknown)
        if scores.shape[-1] != len(self.edges):
            raise ValueError(f"expected the costs of {len(self.edges)} edges, got {scores.shape[-1]}")
        n, batch = self.vertices, scores.shape[:-1]
        places = torch.tensor([i * n + j for i, j in self.edges], device=scores.device).expand(scores.shape)
        matrix = scores.new_full((*batch, n * n), torch.inf).scatter(-1, places, scores.detach())
        z = GraphPath(self.start, self.goal)(matrix.reshape(*batch, n, n), start=start, goal=goal)
        return z.reshape(*batch, n * n).gather(-1, places)

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All paths that meet no vertex twice."""
        n = self.vertices
        place = {edge: k for k, edge in enumerate(self.edges)}
        after = {i: [j for j in range(n) if (i, j) in place] for i in range(n)}
        states = []
        for path in simple_paths(after, self.start % n, self.goal % n):
            states.append(torch.zeros(event_shape))
            states[-1][[place[edge] for edge in pairwise(path)]] = 1.0
        return torch.stack(states)


def _vertex(vertex: int | Tensor, costs: Tensor) -> Tensor:
    """Indices, ``(B,)``."""
    n = costs.shape[-1]
    if isinstance(vertex, Tensor):
        return vertex.reshape(-1).expand(len(costs)) % n
    if not -n <= vertex < n:
        raise ValueError(f"expected one of the {n} vertices, got {vertex}")
    return torch.full(costs.shape[:1], vertex % n, device=costs.device)


def _solve(costs: Tensor, start: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """Edges of the paths, ``(B, n, n)``, and which instances have a path."""
    n = costs.shape[-1]
    own = torch.arange(n, device=costs.device)
    begins, ends = own == start.unsqueeze(-1), own == goal.unsqueeze(-1)  # (B, n)
    distance = torch.zeros_like(costs[:, 0]).masked_fill(~begins, torch.inf)
    distance, since = relax(lambda d: (d.unsqueeze(-1) + costs).amin(-2), distance, n)
    parent = torch.where(begins, own, _way_back(costs, distance, since))
    visited = trace(parent, goal)
    onto = (visited * ~begins).unsqueeze(-2)  # the vertices that the path enters, (B, 1, n)
    z = torch.zeros_like(costs, dtype=visited.dtype).scatter(-2, parent.unsqueeze(-2), onto)
    stable = (since < n).all(-1)  # without a circle of negative cost, step n changes nothing
    return z, stable & (ends & distance.isfinite()).any(-1) & (visited * begins).any(-1)


def _way_back(costs: Tensor, distance: Tensor, since: Tensor) -> Tensor:
    """The vertex before each, ``(B, n)``: of those by which it is as near as it is, the one known for longest."""
    ages = since.unsqueeze(-1).expand_as(costs)
    tight = distance.unsqueeze(-1) + costs == distance.unsqueeze(-2)
    return ages.masked_fill(~tight, torch.inf).argmin(-2)
