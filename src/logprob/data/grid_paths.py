"""Cheapest paths through grids, exactly: the labels of maps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

Array = NDArray[Any]
STEPS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)]
GAP = 1e-6  # paths whose costs differ by less count as tied


class GridPaths(NamedTuple):
    """Cheapest paths from the upper left to the lower right cell.

    Args:
        paths: 1 on the path, both ends included, uint8 ``(N, h, w)``.
        totals: sum of the costs on the path, ``(N,)``.
        unique: whether every other path costs at least 1e-6 more, ``(N,)``.
    """

    paths: Array
    totals: Array
    unique: Array


def cheapest_paths(costs: Array) -> GridPaths:
    """Dijkstra's algorithm on the eight neighbours of each cell, for all grids at once.

    Args:
        costs: of entering a cell, all > 0, ``(N, h, w)``; both ends are paid for.

    Raises:
        ValueError: if there is a cost that is not positive and finite, or the shape is another one.

    Example:
        >>> cheapest_paths(np.array([[[1.0, 9.0, 9.0], [9.0, 2.0, 9.0], [9.0, 9.0, 4.0]]])).totals
        array([7.])
    """
    if costs.ndim != 3 or not np.all((costs > 0) & np.isfinite(costs)):
        raise ValueError(f"expected positive and finite costs of shape (N, h, w), got shape {costs.shape}")
    flat = costs.reshape(len(costs), -1).astype(np.float64)  # (N, C)
    graph = _graph(costs)
    first = np.arange(len(costs)) * flat.shape[1]
    last = first + flat.shape[1] - 1
    forward, before, _ = dijkstra(graph, indices=first, min_only=True, return_predecessors=True)
    backward = dijkstra(graph, indices=last, min_only=True)
    through = forward.reshape(flat.shape) + backward.reshape(flat.shape) + flat[:, :1] + flat[:, -1:] - flat
    path = _traced(before, first, last).reshape(flat.shape)
    totals = through[:, 0]
    # cheapest paths over the same cells are the same path, as costs are positive
    unique = np.where(path, np.inf, through).min(axis=1, initial=np.inf) > totals + GAP
    return GridPaths(path.reshape(costs.shape).astype(np.uint8), totals, unique)


def _graph(costs: Array) -> csr_matrix:
    """One graph of all grids; an edge costs what the cell that it leads to does."""
    height, width = costs.shape[1:]
    cells = np.arange(costs.size).reshape(costs.shape)
    tails, heads = [], []
    for row, column in STEPS:
        tails.append(cells[:, _within(-row, height), _within(-column, width)].ravel())
        heads.append(cells[:, _within(row, height), _within(column, width)].ravel())
    tail, head = np.concatenate(tails), np.concatenate(heads)
    return csr_matrix((costs.ravel()[head].astype(np.float64), (tail, head)), shape=(costs.size, costs.size))


def _within(step: int, size: int) -> slice:
    """Where a neighbour ``step`` away stands, over all cells that have one."""
    return slice(max(step, 0), size + min(step, 0))


def _traced(before: Array, first: Array, last: Array) -> Array:
    """Which cells lie on the way back from ``last`` to ``first``."""
    on_path = np.zeros(before.shape, dtype=bool)
    here = last
    while True:
        on_path[here] = True
        if (here == first).all():
            return on_path
        here = np.where(here == first, first, before[here])
