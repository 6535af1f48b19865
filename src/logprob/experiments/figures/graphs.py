"""Particles in motion, with the edges that there are and those that a model infers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from logprob.batch import Batch
from logprob.experiments.figures.canvas import bare, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRAPHS = 6
INCHES = 1.9


def graph_drawings(model: Any, rows: Batch) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """The sheet of the first rows, if ``model`` infers edges from positions in the plane, and there are true ones."""
    if rows.target is None or not hasattr(model, "positions") or model.positions(rows.x[:1]).shape[-1] != 2:
        return
    yield "graphs.png", partial(graph_grid, model, rows.rows(slice(0, GRAPHS)))


def graph_grid(model: Any, rows: Batch) -> Figure:
    """A column a graph: trajectories with the true edges, and with the most probable graph of the posterior.

    Args:
        model: gives ``positions(x)``, ``(N, T, n, 2)``, and ``edges(z)``, ``(N, n (n - 1) / 2)``.
        rows: trajectories and true edges.
    """
    assert rows.target is not None, "graphs need edges to compare with"
    inferred = model.edges(model.posteriors(rows.x)[0].mode)
    figure, axes = blank(2, len(rows.x), (INCHES * len(rows.x), 2 * INCHES))
    for line, edges in ((axes[0], rows.target), (axes[1], inferred)):
        for axis, positions, present, true in zip(line, model.positions(rows.x), edges, rows.target, strict=True):
            _draw(axis, positions, present, true)
    for axis in axes.flat:
        bare(axis)
        axis.set_aspect("equal")
    for axis, name in zip(axes[:, 0], ("true edges", "inferred edges"), strict=True):
        axis.set_ylabel(name, fontsize=9)
    figure.suptitle("test rows: where the vertices went, dots at the end; wrong edges are dashed", fontsize=10)
    return figure


def _draw(axis: Any, positions: Tensor, present: Tensor, true: Tensor) -> None:
    path = positions.float().cpu().numpy()  # (T, n, 2)
    ends = path[-1]
    pairs = np.stack(np.triu_indices(len(ends), 1), axis=1)
    for (i, j), here, right in zip(pairs, present.tolist(), true.tolist(), strict=True):
        if here > 0.5:
            style = {"color": "C2", "ls": "-"} if right > 0.5 else {"color": "C3", "ls": "--"}
            axis.plot(*ends[[i, j]].T, lw=1.2, zorder=1, **style)
    axis.plot(path[..., 0], path[..., 1], color="0.7", lw=0.8, zorder=0)
    axis.plot(*ends.T, "o", color="C0", ms=4, zorder=2)
