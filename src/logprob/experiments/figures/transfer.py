"""Losses of transferred features against the number of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from logprob.experiments.figures.canvas import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def transfer_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Median over seeds against N, with a band of two standard deviations, and the line of an energy that is zero.

    Args:
        rows: of :class:`~logprob.experiments.studies.TransferStudy`; N = 0, all rows, is drawn apart at the right.
    """
    shown = [row for row in rows if row["method"] != "pretraining"]
    figure, axes = blank(1, 1, (6.5, 4))
    axis = axes[0, 0]
    sizes = sorted({int(row["rows"]) for row in shown}, key=lambda size: size or np.inf)
    places = {size: place for place, size in enumerate(sizes)}
    for color, method in enumerate(dict.fromkeys(row["method"] for row in shown)):
        _curve(axis, [row for row in shown if row["method"] == method], places, f"C{color}", method)
    axis.axhline(float(shown[0]["zero"]), color="0.4", linestyle="--", linewidth=1, label="nothing learned")
    axis.set_xticks(range(len(sizes)), [str(size) if size else "all" for size in sizes])
    axis.set_xlabel("training images of the unseen labels")
    axis.set_ylabel("denoising loss, times 10 000")
    axis.set_title(f"{shown[0]['scored']}; median, and two standard deviations over seeds", fontsize=9)
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8)
    return figure


def _curve(axis: Any, rows: Sequence[Mapping[str, Any]], places: Mapping[int, int], color: str, name: str) -> None:
    """Median and band of one method; all rows are no number on the scale, so no line leads there."""
    groups: dict[int, list[float]] = {}
    for row in rows:
        groups.setdefault(int(row["rows"]), []).append(float(row["loss"]))
    sizes = sorted(size for size in groups if size)
    x = [places[size] for size in sizes]
    middle = np.array([np.median(groups[size]) for size in sizes])
    spread = np.array([2 * np.std(groups[size]) for size in sizes])
    axis.plot(x, middle, marker="o", markersize=4, color=color, label=name)
    axis.fill_between(x, middle - spread, middle + spread, color=color, alpha=0.15, linewidth=0)
    if 0 in groups:
        bar = {"yerr": 2 * np.std(groups[0]), "marker": "o", "markersize": 4, "color": color, "capsize": 3}
        axis.errorbar([places[0]], [np.median(groups[0])], label=None if sizes else name, **bar)
