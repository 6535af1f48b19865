"""The cheapest path over the cells of a grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.refusal import check_scores, refuse
from logprob.discrete.solvers.relaxation import relax, simple_paths, trace

Cell = tuple[int, int]
_OFFSETS = {
    4: ((-1, 0), (0, -1), (0, 1), (1, 0)),
    8: ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)),
}
_FAR = 1e30  # above all ages


@dataclass(frozen=True)
class GridPath(Solver):
    """Indicator of the cells of a cheapest path, ``argmin <z, costs>`` over the paths from start to goal.

    An instance is a grid of the costs of its cells, shape ``(h, w)``; both ends are on the path and are paid for.
    Distances are lowered from neighbour to neighbour until nothing changes, all instances at once, O(h w) a step and
    about as many steps as the longest of the paths has cells. Then every cell points to its neighbour of least
    distance, of several to the one that came to it in the fewest steps, and of those to the first in reading order.

    A cost of +inf is a wall. Costs may not be negative: a path could go round and round to gain from it. Perturbed
    costs easily are, so say what shall happen: with a ``floor`` all costs below it are raised to it. (To shift all
    costs of an instance instead would favour paths of few cells; use positive noise where that matters.)

    The optional instance arguments ``start`` and ``goal`` are integers ``(*batch, 2)``.

    Args:
        neighbours: of a cell: 4, or 8 with the diagonal ones.
        start: row and column where paths begin; negative ones count from the end.
        goal: where they end.
        floor: what lower costs are raised to, >= 0; None: a negative cost is an error.

    Raises:
        ValueError: if a cost is negative or NaN, or a wall keeps the goal from the start. Where Python cannot look, as
            in compiled code, its answer is NaN.

    Example:
        >>> import torch
        >>> GridPath()(torch.tensor([[1.0, 9.0, 1.0], [1.0, 9.0, 1.0], [9.0, 1.0, 1.0]]))
        tensor([[1., 0., 0.],
                [1., 0., 0.],
                [0., 1., 1.]])
    """

    event_dim = 2
    maximize = False

    neighbours: int = 8
    start: Cell = (0, 0)
    goal: Cell = (-1, -1)
    floor: float | None = None

    def __post_init__(self) -> None:
        if self.neighbours not in _OFFSETS:
            raise ValueError(f"expected 4 or 8 neighbours, got {self.neighbours}")
        if self.floor is not None and not self.floor >= 0:
            raise ValueError(f"expected a floor >= 0, got {self.floor}")

    def __call__(
        self, scores: Tensor, *, start: Tensor | None = None, goal: Tensor | None = None, **unknown: Any
    ) -> Tensor:
        """Solve every instance; see the class."""
        check_scores(self, scores, 2, unknown)
        costs = scores.detach().reshape(-1, *scores.shape[-2:])
        costs = costs if self.floor is None else costs.clamp(min=self.floor)
        first = _places(self.start if start is None else start, costs)
        last = _places(self.goal if goal is None else goal, costs)
        z, distance = _solve(costs.float() if costs.dtype.itemsize < 4 else costs, first, last, self.neighbours)
        wrong = ~(costs >= 0).flatten(1).all(-1) | distance.isinf()
        z = z.to(scores.dtype).reshape(scores.shape)
        why = "costs must be >= 0, no NaN, and the goal within reach; a floor raises those that noise made negative"
        return refuse(z, wrong.reshape(scores.shape[:-2]), why)

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All paths that meet no cell twice, as sets of cells."""
        h, w = event_shape
        after = {
            i * w + j: [(i + a) * w + j + b for a, b in _OFFSETS[self.neighbours] if 0 <= i + a < h and 0 <= j + b < w]
            for i in range(h)
            for j in range(w)
        }
        first, last = ((i % h) * w + j % w for i, j in (self.start, self.goal))
        paths = [sum(1 << cell for cell in path) for path in simple_paths(after, first, last)]
        sets = [[float(path >> cell & 1) for cell in range(h * w)] for path in dict.fromkeys(paths)]
        return torch.tensor(sets).reshape(-1, h, w)


def _places(cell: Cell | Tensor, costs: Tensor) -> Tensor:
    """Places in the flattened grid, ``(B,)``."""
    h, w = costs.shape[-2:]
    if isinstance(cell, Tensor):
        row, column = cell.reshape(-1, 2).unbind(-1)
    elif not (-h <= cell[0] < h and -w <= cell[1] < w):
        raise ValueError(f"expected a cell of the {h} x {w} grid, got {cell}")
    else:
        row, column = torch.tensor(cell, device=costs.device).unbind(-1)
    return ((row % h) * w + column % w).expand(len(costs))


def _solve(costs: Tensor, start: Tensor, goal: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Cells of the paths, ``(B, h, w)``, and their costs, ``(B,)``."""
    b, h, w = costs.shape
    own = torch.arange(h * w, device=costs.device)
    begins = own == start.unsqueeze(-1)  # (B, h w)
    distance = costs.flatten(1).masked_fill(~begins, torch.inf)
    # Instances come last in memory: the slices by rows and columns are then long, also for small grids.
    cells, distance = (x.reshape(b, h, w).permute(1, 2, 0).contiguous() for x in (costs, distance))
    lowest = _lowest_of_8 if neighbours == 8 else _lowest_of_4
    distance, since = relax(lambda d: lowest(_pad(d, torch.inf)) + cells, distance, h * w)
    back = _way_back(distance, since, neighbours).permute(2, 0, 1).flatten(1)
    parent = torch.where(begins, own, own + back)
    # The cells that nothing reaches point anywhere, also outside; no path comes by them.
    visited = trace(parent.clamp(0, h * w - 1), goal)
    return visited.reshape(b, h, w), distance.flatten(0, 1).gather(0, goal.unsqueeze(0)).squeeze(0)


def _pad(grid: Tensor, value: float) -> Tensor:
    """A margin of one cell around ``(h, w, B)``."""
    return torch.nn.functional.pad(grid, (0, 0, 1, 1, 1, 1), value=value)


def _lowest_of_8(padded: Tensor) -> Tensor:
    """Least of the 3 x 3 cells around each, the cell among them: it changes nothing, as costs are not negative."""
    across = torch.minimum(torch.minimum(padded[:, :-2], padded[:, 2:]), padded[:, 1:-1])
    return torch.minimum(torch.minimum(across[:-2], across[2:]), across[1:-1])


def _lowest_of_4(padded: Tensor) -> Tensor:
    """Least of the four cells beside each."""
    across = torch.minimum(padded[1:-1, :-2], padded[1:-1, 2:])
    return torch.minimum(across, torch.minimum(padded[:-2, 1:-1], padded[2:, 1:-1]))


def _way_back(distance: Tensor, since: Tensor, neighbours: int) -> Tensor:
    """Step in the flattened grid from each cell to the one before it, ``(h, w, B)``.

    The pair (distance, since) falls along the way, so that it has no circles, also where costs are zero or vanish in
    rounding: a cell got its distance a step later than some neighbour of no greater distance had got its own.
    """
    offsets = _OFFSETS[neighbours]
    near = _around(distance, torch.inf, offsets)
    ages = _around(since * len(offsets), 0, offsets)
    lowest = reduce(torch.minimum, near)
    # The age first, then the order of reading; out of the question if it is not the lowest.
    pairs = enumerate(zip(near, ages, strict=True))
    key = reduce(torch.minimum, (torch.add(age + k, (d - lowest).sign(), alpha=_FAR) for k, (d, age) in pairs))
    steps = torch.tensor([a * distance.shape[1] + b for a, b in offsets], device=distance.device)
    return steps.index_select(0, key.int().flatten() & (len(offsets) - 1)).reshape(key.shape)


def _around(grid: Tensor, outside: float, offsets: tuple[Cell, ...]) -> list[Tensor]:
    """The neighbours of every cell, each a view of ``(h, w, B)``."""
    h, w = grid.shape[:2]
    padded = _pad(grid, outside)
    return [padded[1 + a : 1 + a + h, 1 + b : 1 + b + w] for a, b in offsets]
