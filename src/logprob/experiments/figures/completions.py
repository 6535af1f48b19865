"""Images completed from their upper halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from logprob.batch import Batch
from logprob.data.completion import whole_images
from logprob.experiments.figures.canvas import bare, blank
from logprob.experiments.figures.images import INCHES, Pixels, tiled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGES = 10
DRAWS = 4  # completions of an image
AVERAGED = 100  # draws behind a mean


def completion_drawings(model: Any, rows: Batch, pixels: Pixels) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """The sheet of the first rows, if they are halves of images and ``model`` predicts one half from the other."""
    if rows.context is None or rows.context.shape != rows.x.shape or not hasattr(model(rows.context[:1]), "predict"):
        return
    yield "completions.png", partial(completion_grid, model, rows.rows(slice(0, IMAGES)), pixels)


def completion_grid(model: Any, rows: Batch, pixels: Pixels) -> Figure:
    """A column an image: the original, what is given of it, completions by single draws of the units, and their mean.

    Args:
        model: gives, for contexts ``(N, D)``, a distribution with ``sample_mean`` and ``predict``.
        rows: lower halves ``x`` and upper halves ``context``, of at most ten images.
        pixels: how a half is shown.
    """
    upper = rows.context
    assert upper is not None, "completions need what is given"
    distribution = model(upper)
    nothing = rows.x.new_full(rows.x.shape, (pixels.low + pixels.high) / 2)
    single = distribution.sample_mean((DRAWS,))
    lower = {"original": rows.x, "given": nothing}
    lower |= {f"draw {index + 1}": draw for index, draw in enumerate(single)}
    lower[f"mean of {AVERAGED}"] = distribution.predict(AVERAGED)
    lines = [_line(upper, half, pixels) for half in lower.values()]
    height, width = lines[0].shape[0], lines[0].shape[1]
    scale = INCHES / (height - 1)
    figure, axes = blank(1, 1, (width * scale + 1.4, len(lines) * height * scale + 0.4))
    axis = axes[0, 0]
    axis.imshow(np.concatenate(lines), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    bare(axis)
    axis.set_yticks([height * (index + 0.5) for index in range(len(lines))], list(lower), fontsize=9)
    axis.tick_params(length=0)
    axis.set_title("lower halves of test images, predicted from the upper ones", fontsize=10)
    return figure


def _line(upper: Tensor, lower: Tensor, pixels: Pixels) -> Any:
    """Images side by side."""
    channels, height, width = pixels.shape
    whole = pixels._replace(shape=(channels, 2 * height, width))
    return tiled(whole.images(whole_images(upper, lower, pixels.shape)))
