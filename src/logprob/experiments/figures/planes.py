"""Densities and probabilities on the plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from logprob.experiments.figures.canvas import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESOLUTION = 200  # points of a density panel along each axis


def density_panels(
    log_prob: Callable[[Tensor], Tensor], x: Tensor, true_log_prob: Callable[[Tensor], Tensor] | None
) -> Figure:
    """Training rows, learned density and, where it is known, the true density, all on one scale.

    Args:
        log_prob: learned log-density of rows ``(N, 2)``.
        x: training rows ``(N, 2)``.
        true_log_prob: log-density of the generating law.
    """
    x = x[~x.isnan().any(1)]
    edges = [_edges(column) for column in x.T]
    grid = _grid(edges, x.dtype)
    panels = {"data": _histogram(x, edges), "learned density": log_prob(grid).exp()}
    if true_log_prob is not None:
        panels["true density"] = true_log_prob(grid).exp()
    images = {name: np.asarray(values).reshape(RESOLUTION, RESOLUTION) for name, values in panels.items()}
    reference = images.get("true density", images["learned density"])
    return _panels(images, edges, float(np.quantile(reference, 0.999)), "density")


def _edges(column: Tensor) -> Any:
    """Borders of equal cells over the range of a variable and 5 % on either side."""
    low, high = column.min().item(), column.max().item()
    margin = 0.05 * (high - low)
    return np.linspace(low - margin, high + margin, RESOLUTION + 1)


def _grid(edges: list[Any], dtype: torch.dtype) -> Tensor:
    """Midpoints of the cells, first variable along the columns, shape ``(RESOLUTION^2, 2)``."""
    first, second = ((e[1:] + e[:-1]) / 2 for e in edges)
    mesh = np.meshgrid(first, second)
    return torch.from_numpy(np.stack([mesh[0].ravel(), mesh[1].ravel()], axis=1)).to(dtype)


def _histogram(x: Tensor, edges: list[Any]) -> Any:
    """Density of the rows by cells four times as wide as the grid's, on the grid."""
    wide = 4
    first, second = x.T.double().numpy()
    counts, *_ = np.histogram2d(first, second, bins=[e[::wide] for e in edges], density=True)
    return counts.T.repeat(wide, axis=0).repeat(wide, axis=1)


def pmf_panels(log_prob: Callable[[Tensor], Tensor], x: Tensor, categories: int) -> Figure:
    """Frequencies of the training rows and learned probabilities of all pairs of states, on one scale."""
    states = torch.arange(categories)
    second, first = torch.meshgrid(states, states, indexing="ij")
    pairs = torch.stack([first.ravel(), second.ravel()], dim=1).to(x.dtype)
    counts = torch.zeros(categories, categories).index_put(
        (x[:, 1].long(), x[:, 0].long()), torch.tensor(1.0 / len(x)), accumulate=True
    )
    learned = log_prob(pairs).exp().reshape(categories, categories).numpy()
    edges = [np.arange(categories + 1) - 0.5] * 2
    return _panels({"data": counts.numpy(), "learned probability": learned}, edges, float(counts.max()), "probability")


def _panels(images: dict[str, Any], edges: list[Any], top: float, label: str) -> Figure:
    figure, axes = blank(1, len(images), (4.2 * len(images) + 0.8, 4))
    extent = (edges[0][0], edges[0][-1], edges[1][0], edges[1][-1])
    drawn: Any = None
    for axis, (name, image) in zip(axes[0], images.items(), strict=True):
        drawn = axis.imshow(image, origin="lower", extent=extent, aspect="auto", vmin=0, vmax=top, cmap="magma")
        axis.set_title(name)
        axis.set_xlabel("$x_1$")
    axes[0][0].set_ylabel("$x_2$")
    figure.colorbar(drawn, ax=list(axes[0]), label=label, extend="max")
    return figure
