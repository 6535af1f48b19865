"""Maps with the cheapest path and the one that a model chooses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from logprob.batch import Batch
from logprob.experiments.figures.canvas import bare, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAPS = 6
INCHES = 1.8


def map_drawings(model: Any, rows: Batch) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """The sheet of the first rows, if they are paths on square grids with pictures of them and costs."""
    if not is_map(rows) or not hasattr(model(rows.context[:1] if rows.context is not None else None), "mode"):
        return
    yield "maps.png", partial(map_grid, model, rows.rows(slice(0, MAPS)))


def is_map(rows: Batch) -> bool:
    """Whether rows are cells of a square, beside colour pictures and a cost for every cell."""
    pictures, costs = rows.context, rows.target
    square = math.isqrt(rows.x.shape[-1]) ** 2 == rows.x.shape[-1]
    return pictures is not None and pictures.dim() == 4 and costs is not None and costs.shape == rows.x.shape and square


def map_grid(model: Any, rows: Batch) -> Figure:
    """A column a map: the picture, the costs with the cheapest path, the costs with the chosen one.

    Args:
        model: gives a law with ``mode``, the chosen cells ``(N, g * g)``, for pictures ``(N, 3, H, W)``.
        rows: paths, pictures and costs.
    """
    assert rows.context is not None, "maps need pictures"
    assert rows.target is not None, "maps need costs"
    side = math.isqrt(rows.x.shape[-1])
    chosen = model(rows.context).mode
    figure, axes = blank(3, len(rows.x), (INCHES * len(rows.x), 3 * INCHES))
    for column, picture in zip(axes.T, rows.context, strict=True):
        column[0].imshow(_colours(picture), interpolation="nearest")
    for line, paths in ((axes[1], rows.x), (axes[2], chosen)):
        for axis, path, costs in zip(line, paths, rows.target, strict=True):
            axis.imshow(_cells(costs, side), cmap="Greys", interpolation="nearest")
            y, x = np.nonzero(_cells(path, side) > 0.5)
            axis.plot(x, y, "s", color="C1", ms=80 / side, mew=0)
    for axis in axes.flat:
        bare(axis)
    for axis, name in zip(axes[:, 0], ("picture", "cheapest path", "chosen by the model"), strict=True):
        axis.set_ylabel(name, fontsize=9)
    figure.suptitle("test maps; dark cells cost more, orange cells are the path", fontsize=10)
    return figure


def _cells(values: Tensor, side: int) -> np.ndarray[Any, Any]:
    return values.reshape(side, side).float().cpu().numpy()


def _colours(picture: Tensor) -> np.ndarray[Any, Any]:
    """A standardised picture ``(3, H, W)`` in colours from 0 to 1, stretched over its own range."""
    image = picture.float().cpu().numpy().transpose(1, 2, 0)
    return (image - image.min()) / max(float(np.ptp(image)), 1e-6)
