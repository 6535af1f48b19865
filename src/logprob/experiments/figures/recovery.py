"""Pictures of how well sources are found: curves against the rows per segment, box plots over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from logprob.experiments.figures.canvas import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
TITLES = {"tcl": "TCL", "imca": "IMCA"}


def recovery_curves(rows: Sequence[Row], target: str, measure: str = "fresh_pearson") -> Figure:
    """Mean and standard deviation over seeds against the rows per segment; a panel for each law and depth.

    Args:
        rows: of a :class:`~logprob.experiments.studies.RecoveryStudy`.
        target: "s", "|s|" or "s^2".
        measure: which score.
    """
    panels, methods, controls = _layout(rows)
    figure, axes = _axes(panels)
    for axis, (law, layers) in zip(axes.flat, panels, strict=False):
        for number, method in enumerate(methods):
            values = _by_size(rows, law, layers, method, f"{measure}_{target}")
            if not values:
                continue
            sizes = sorted(values)
            mean = np.array([np.mean(values[size]) for size in sizes])
            sd = np.array([np.std(values[size]) for size in sizes])
            style = {"linestyle": "--" if method in controls else "-", "color": _colour(number)}
            axis.plot(sizes, mean, marker="o", markersize=3, label=method, **style)
            axis.fill_between(sizes, mean - sd, mean + sd, color=_colour(number), alpha=0.12, linewidth=0)
        axis.set_xscale("log")
        sizes = sorted({row["per_segment"] for row in rows})
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        axis.set_title(f"{TITLES.get(law, law)}, {layers} layers")
        axis.set_ylim(0, 1.02)
        axis.grid(axis="y", color="0.92")
    _label(figure, axes, "rows per segment", f"MCC against {target}, fresh rows")
    return figure


def recovery_boxes(rows: Sequence[Row], target: str, measure: str = "fresh_pearson") -> Figure:
    """Scores of all seeds at the largest number of rows per segment, one box a method."""
    panels, methods, controls = _layout(rows)
    figure, axes = _axes(panels)
    for axis, (law, layers) in zip(axes.flat, panels, strict=False):
        for number, method in enumerate(methods):
            values = _by_size(rows, law, layers, method, f"{measure}_{target}")
            if not values:
                continue
            scores = values[max(values)]
            axis.boxplot([scores], positions=[number], widths=0.6, whis=(0, 100), medianprops={"color": "0.2"})
            axis.plot([number] * len(scores), scores, ".", color=_colour(number), markersize=5)
        names = [f"{method}*" if method in controls else method for method in methods]
        axis.set_xticks(range(len(methods)), names, rotation=40, ha="right", fontsize=7)
        axis.set_title(f"{TITLES.get(law, law)}, {layers} layers, {max(row['per_segment'] for row in rows)} rows")
        axis.set_ylim(0, 1.02)
        axis.grid(axis="y", color="0.92")
    figure.supylabel(f"MCC against {target}, fresh rows", fontsize=9)
    figure.supxlabel("* control", fontsize=8)
    return figure


def _layout(rows: Sequence[Row]) -> tuple[list[tuple[str, int]], list[str], set[str]]:
    """Panels, methods and which of them are controls, in the order of the rows."""
    panels = list(dict.fromkeys((row["law"], row["layers"]) for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    return panels, methods, {row["method"] for row in rows if row["control"]}


def _axes(panels: Sequence[Any]) -> tuple[Figure, Any]:
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = blank(lines, columns, (1.2 + 3.6 * columns, 0.9 + 2.7 * lines), sharey=True)
    for axis in list(axes.flat)[len(panels) :]:
        axis.remove()
    return figure, axes


def _by_size(rows: Sequence[Row], law: str, layers: int, method: str, key: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for row in rows:
        if (row["law"], row["layers"], row["method"]) == (law, layers, method):
            found.setdefault(row["per_segment"], []).append(float(row[key]))
    return found


def _label(figure: Figure, axes: Any, x: str, y: str) -> None:
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)


def _colour(number: int) -> Any:
    import matplotlib

    return matplotlib.colormaps["tab10" if number < 10 else "Dark2"](number % 10 if number < 10 else (number - 10) % 8)
