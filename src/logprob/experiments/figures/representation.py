"""Agreement of trainings and accuracies of classifiers, as boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from logprob.experiments.figures.canvas import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def agreement_boxes(inside: Mapping[str, Sequence[float]], outside: Mapping[str, Sequence[float]]) -> Figure:
    """A panel for the half of the rows that was fitted, one for the other; a box over pairs, and every pair a dot.

    Args:
        inside: scores of pairs by name.
        outside: likewise.
    """
    figure, axes = blank(1, 2, (9, 0.9 + 0.32 * len(inside)), sharey=True, sharex=True)
    for axis, scores, title in zip(axes[0], (inside, outside), ("fitted half", "other half"), strict=True):
        _boxes(axis, scores)
        axis.set_title(f"{title} of the test images", fontsize=9)
        axis.set_xlabel("mean correlation")
        axis.set_xlim(0, 1)
    return figure


def accuracy_boxes(accuracies: Mapping[str, Mapping[int, Sequence[float]]]) -> Figure:
    """A box over seeds and splits for each kind of features.

    Args:
        accuracies: by kind of features and seed.
    """
    figure, axes = blank(1, 1, (6, 1.1 + 0.45 * len(accuracies)))
    scores = {kind: [one for values in by_seed.values() for one in values] for kind, by_seed in accuracies.items()}
    _boxes(axes[0, 0], scores)
    axes[0, 0].set_xlabel("accuracy on held-out images of unseen classes")
    return figure


def dimension_sweep(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Mean weak score of the half that was not fitted against the number of canonical variates.

    Args:
        rows: of :class:`~logprob.experiments.studies.RepresentationStudy`.
    """
    figure, axes = blank(1, 1, (5.5, 3.5))
    axis = axes[0, 0]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        sizes = sorted({int(row["dimension"]) for row in own})
        means = [np.mean([row["weak_out"] for row in own if row["dimension"] == size]) for size in sizes]
        axis.plot(sizes, means, marker="o", label=kind)
    axis.set_ylim(0, 1)
    axis.set_xlabel("canonical variates")
    axis.set_ylabel("weak mean correlation, other half")
    axis.legend(frameon=False, fontsize=8)
    return figure


def _boxes(axis: Any, scores: Mapping[str, Sequence[float]]) -> None:
    """Horizontal boxes, the first one at the top."""
    names = list(scores)[::-1]
    style = {"showfliers": False, "medianprops": {"color": "C0"}, "orientation": "horizontal"}
    axis.boxplot([list(scores[name]) for name in names], tick_labels=names, **style)
    stream = np.random.default_rng(0)
    for place, name in enumerate(names, 1):
        height = place + stream.uniform(-0.12, 0.12, len(scores[name]))
        axis.plot(list(scores[name]), height, ".", color="0.5", markersize=3, alpha=0.6)
    axis.tick_params(axis="y", labelsize=8)
