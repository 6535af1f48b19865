"""Learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from logprob.experiments.figures.canvas import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS = {"train": "train", "train_eval": "train, evaluated", "valid": "valid"}


def learning_curves(records: list[dict[str, Any]], metric: str) -> Figure:
    """Training and validation metric by epoch, with the learning rate below.

    Args:
        records: lines of ``metrics.jsonl``.
        metric: name of the monitored metric.
    """
    figure, axes = blank(2, 1, (7, 5), sharex=True, height_ratios=[4, 1])
    top, bottom = axes[:, 0]
    epochs = range(1, len(records) + 1)
    for split, label in SPLITS.items():
        key = f"{split}/{metric}"
        there = [(epoch, float(record[key])) for epoch, record in zip(epochs, records, strict=True) if key in record]
        if np.isfinite([value for _, value in there]).any():
            top.plot(*zip(*there, strict=True), label=label, marker=_marker(there))
    _clip_start(top, records, metric)
    top.set_ylabel(metric.replace("_", " "))
    if top.lines:
        top.legend(frameon=False)
    rates = [record["learning_rate"] for record in records]
    if 0 < min(rates) < max(rates):
        bottom.set_yscale("log")
    bottom.plot(epochs, rates, color="0.4", marker=_marker(rates))
    bottom.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("epoch")
    for index in range(1, len(records)):
        if records[index]["phase"] != records[index - 1]["phase"]:
            top.axvline(index + 0.5, color="0.7", linewidth=0.8)
    return figure


def _marker(points: Sequence[Any]) -> str | None:
    """A line through one point alone would not be seen."""
    return "." if len(points) == 1 else None


def _clip_start(axis: Any, records: list[dict[str, Any]], metric: str) -> None:
    """Let the first few epochs, often far off, not flatten the rest."""
    values = np.array([float(r.get(f"{s}/{metric}", math.nan)) for s in SPLITS for r in records])
    values = values[np.isfinite(values)]
    if len(values) > 20:
        low, high = np.quantile(values, [0.03, 0.97])
        margin = 0.15 * (max(values.max() - low, high - values.min(), 1e-9) if high == low else high - low)
        axis.set_ylim(max(low - margin, values.min() - margin), min(high + margin, values.max() + margin))
