"""Sheets of images: test rows by log-probability, samples, reconstructions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from logprob.experiments.figures.canvas import DPI, bare, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHEET = 8  # images of a row of the sheet by log-probability
COLUMNS = 10  # images of a row of the others
INCHES = 0.62  # side of an image, or more where that is less than two dots a pixel


class Pixels(NamedTuple):
    """How rows are shown.

    Args:
        shape: channels, height, width of a flattened row.
        low: value shown black.
        high: value shown white.
    """

    shape: tuple[int, int, int]
    low: float
    high: float

    def images(self, x: Tensor) -> Any:
        """Rows as images of numbers in [0, 1], ``(N, H, W)`` or ``(N, H, W, 3)``; what is not a number is black."""
        images = x.detach().cpu().double().reshape(-1, *self.shape).movedim(1, -1)
        scaled = ((images - self.low) / max(self.high - self.low, 1e-12)).nan_to_num(0.0).clamp(0, 1).numpy()
        return scaled if self.shape[0] == 3 else scaled.mean(-1)


def image_sheet(
    score: Callable[[Tensor], Tensor], x: Tensor, pixels: Pixels, name: str = "log-probability (nats)"
) -> Figure:
    """Images of the lowest, middle and highest score, with the number above each.

    Args:
        score: log-probability, or its bound, of rows ``(N, C H W)``.
        x: rows.
        pixels: how they are shown.
        name: of the score.
    """
    values = score(x)
    order = values.argsort()
    count = min(SHEET, len(order))
    middle = (len(order) - count) // 2
    chosen = {"lowest": order[:count], "median": order[middle : middle + count], "highest": order[-count:]}
    figure, axes = blank(3, count, (1.15 * count + 0.6, 4.4))
    for row, (label, rows) in zip(axes, chosen.items(), strict=True):
        for axis, index, image in zip(row, rows.tolist(), pixels.images(x[rows]), strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set_title(f"{values[index]:.1f}", fontsize=9)
            bare(axis)
        row[0].set_ylabel(label)
    figure.suptitle(f"test images by {name}", fontsize=11)
    return figure


def image_grid(x: Tensor, pixels: Pixels, title: str) -> Figure:
    """All rows as images, ten side by side."""
    images = pixels.images(x)
    figure, axis = sheet(tiled(images), images.shape[1:3], len(images), title)
    bare(axis)
    return figure


def reconstruction_grid(x: Tensor, again: Tensor, pixels: Pixels) -> Figure:
    """Rows, what a model's reconstruction makes of them, and the absolute difference, one above the other.

    The difference is shown brighter by a power of ten where it is small; the label says so.
    """
    difference = (x.double().cpu() - again.double().cpu()).abs().reshape(len(x), -1)
    span = max(pixels.high - pixels.low, 1e-12)
    largest = difference.nan_to_num(span).quantile(0.99).item() / span
    factor = 10 ** min(6, max(0, math.floor(-math.log10(largest)))) if largest > 0 else 1
    parts = (pixels.images(x), pixels.images(again), pixels._replace(low=0.0, high=span / factor).images(difference))
    rows = [part[start : start + COLUMNS] for start in range(0, len(x), COLUMNS) for part in parts]
    image = np.concatenate([tiled(row) for row in rows])
    mean = difference.mean().item()
    title = f"test images and reconstructions; mean difference {mean:.3g} of {span:g}"
    figure, axis = sheet(image, parts[0].shape[1:3], len(rows) * COLUMNS, title)
    bare(axis)
    height = parts[0].shape[1] + _gap(parts[0].shape[1])
    labels = [
        "$x$",
        r"$\hat{x}$",
        r"$|x-\hat{x}|$" + (rf"$\,\times 10^{{{round(math.log10(factor))}}}$" * (factor > 1)),
    ]
    axis.set_yticks([height * (index + 0.5) for index in range(len(rows))], labels * (len(rows) // 3), fontsize=9)
    axis.tick_params(length=0)
    return figure


def tiled(images: Any, columns: int = COLUMNS) -> Any:
    """Images beside and below each other, so many in a row, with white between them."""
    count, height, width, *colour = images.shape
    gap, lines = _gap(height), math.ceil(count / columns)
    canvas = np.ones((lines * (height + gap), columns * (width + gap), *colour))
    for index, image in enumerate(images):
        top, left = (height + gap) * (index // columns), (width + gap) * (index % columns)
        canvas[top : top + height, left : left + width] = image
    return canvas


def _gap(height: int) -> int:
    return max(1, height // 16)


def sheet(image: Any, shape: Sequence[int], count: int, title: str, columns: int = COLUMNS) -> tuple[Figure, Any]:
    """A figure of tiled images of ``shape``, ``count`` of them, and its axis."""
    inches = max(INCHES, 2 * max(shape) / DPI)
    lines = math.ceil(count / columns)
    figure, axes = blank(1, 1, (columns * inches + 0.3, lines * inches + 0.5))
    axes[0, 0].imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes[0, 0].set_title(title, fontsize=10)
    return figure, axes[0, 0]


def pixels_of(x: Tensor, shape: tuple[int, int, int], categories: int | None) -> Pixels:
    """The range of codes, or that of the rows themselves."""
    if categories is not None:
        return Pixels(shape, 0.0, float(categories - 1))
    values = x[torch.isfinite(x).reshape(len(x), -1).all(1)]
    return Pixels(shape, values.min().item(), values.max().item()) if len(values) else Pixels(shape, 0.0, 1.0)
