"""Pictures of a run: learning curves, densities on the plane, images with their log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.experiments.files import write_atomically, writing
from logprob.experiments.prepare import Prepared
from logprob.experiments.results import RunFolder
from logprob.metrics import log_prob_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESOLUTION = 200  # points of a density panel along each axis
SHEET = 8  # images of a row of the sheet


def draw_run(folder: RunFolder, prepared: Prepared) -> None:
    """Draw all figures that suit the data into ``folder.figures``.

    Raises:
        RunError: if a file cannot be written.
    """
    for name, figure in _figures(folder, prepared):
        content = BytesIO()
        figure.savefig(content, dpi=120, format="png")
        with writing(folder.figures):
            folder.figures.mkdir(exist_ok=True)
        write_atomically(folder.figures / name, content.getvalue())


def _figures(folder: RunFolder, prepared: Prepared) -> Iterator[tuple[str, Figure]]:
    data = prepared.dataset
    yield "learning_curves.png", learning_curves(list(folder.metrics()), prepared.monitor.metric)
    if data.train.context is not None:
        return
    log_prob = _log_prob_of(prepared)
    if data.variables == 2 and data.categories is None:
        yield "density.png", density_panels(log_prob, data.train.x, data.true_log_prob)
    elif data.variables == 2 and data.categories is not None:
        yield "pmf.png", pmf_panels(log_prob, data.train.x, data.categories)
    if data.image_shape is not None:
        yield "images.png", image_sheet(log_prob, data.test.x, data.image_shape)


def _log_prob_of(prepared: Prepared) -> Callable[[Tensor], Tensor]:
    def log_prob(x: Tensor) -> Tensor:
        return log_prob_rows(prepared.model, prepared.rows(Batch(x))).cpu()

    return log_prob


def _figure(rows: int, columns: int, size: tuple[float, float], **layout: Any) -> tuple[Figure, Any]:
    # Figure without pyplot: no global state, no window system, no warning about many open figures.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **layout)


def learning_curves(records: list[dict[str, Any]], metric: str) -> Figure:
    """Training and validation metric by epoch, with the learning rate below.

    Args:
        records: lines of ``metrics.jsonl``.
        metric: name of the monitored metric.
    """
    figure, axes = _figure(2, 1, (7, 5), sharex=True, height_ratios=[4, 1])
    top, bottom = axes[:, 0]
    epochs = range(1, len(records) + 1)
    for split in ("train", "valid"):
        values = [float(record.get(f"{split}/{metric}", math.nan)) for record in records]
        if np.isfinite(values).any():
            top.plot(epochs, values, label=split, marker="." if len(values) == 1 else None)
    _clip_start(top, records, metric)
    top.set_ylabel(metric.replace("_", " "))
    top.legend(frameon=False)
    bottom.plot(epochs, [record["learning_rate"] for record in records], color="0.4")
    if all(record["learning_rate"] > 0 for record in records):
        bottom.set_yscale("log")
    bottom.xaxis.get_major_locator().set_params(integer=True)
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("epoch")
    for index in range(1, len(records)):
        if records[index]["phase"] != records[index - 1]["phase"]:
            top.axvline(index + 0.5, color="0.7", linewidth=0.8)
    return figure


def _clip_start(axis: Any, records: list[dict[str, Any]], metric: str) -> None:
    """Let the first few epochs, often far off, not flatten the rest."""
    values = np.array([float(r.get(f"{s}/{metric}", math.nan)) for s in ("train", "valid") for r in records])
    values = values[np.isfinite(values)]
    if len(values) > 20:
        low, high = np.quantile(values, [0.03, 0.97])
        margin = 0.15 * (max(values.max() - low, high - values.min(), 1e-9) if high == low else high - low)
        axis.set_ylim(max(low - margin, values.min() - margin), min(high + margin, values.max() + margin))


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
    figure, axes = _figure(1, len(images), (4.2 * len(images) + 0.8, 4))
    extent = (edges[0][0], edges[0][-1], edges[1][0], edges[1][-1])
    drawn: Any = None
    for axis, (name, image) in zip(axes[0], images.items(), strict=True):
        drawn = axis.imshow(image, origin="lower", extent=extent, aspect="auto", vmin=0, vmax=top, cmap="magma")
        axis.set_title(name)
        axis.set_xlabel("$x_1$")
    axes[0][0].set_ylabel("$x_2$")
    figure.colorbar(drawn, ax=list(axes[0]), label=label, extend="max")
    return figure


def image_sheet(log_prob: Callable[[Tensor], Tensor], x: Tensor, shape: tuple[int, int, int]) -> Figure:
    """Test images of the lowest, middle and highest log-probability, with the number above each.

    Args:
        log_prob: learned log-probability of rows ``(N, C H W)``.
        x: test rows.
        shape: channels, height, width.
    """
    values = log_prob(x)
    order = values.argsort()
    count = min(SHEET, len(order))
    middle = (len(order) - count) // 2
    chosen = {"lowest": order[:count], "median": order[middle : middle + count], "highest": order[-count:]}
    figure, axes = _figure(3, count, (1.15 * count + 0.6, 4.4))
    top = x.max().item()
    for row, (name, rows) in zip(axes, chosen.items(), strict=True):
        for axis, index in zip(row, rows.tolist(), strict=True):
            image = x[index].reshape(shape).permute(1, 2, 0).double().numpy()
            axis.imshow(image.squeeze() / top, cmap="gray", vmin=0, vmax=1)
            axis.set_title(f"{values[index]:.1f}", fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(name)
    figure.suptitle("test images by log-probability (nats)", fontsize=11)
    return figure
