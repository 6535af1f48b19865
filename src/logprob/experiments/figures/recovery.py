"""Pictures of how well sources are found: curves against the rows per segment, box plots over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from logprob.experiments.figures.canvas import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
TITLES = {"tcl": "TCL", "imca": "IMCA"}
MEASURES = {"fresh": "fresh rows", "fitted": "fitted rows", "spearman": ", Spearman"}
SMALL = 8  # points of text


def recovery_curves(rows: Sequence[Row], target: str, measure: str = "fresh_pearson") -> Figure:
    """Mean and standard deviation over seeds against the rows per segment; a panel for each law and depth.

    Controls are dashed and have open markers.

    Args:
        rows: of a :class:`~logprob.experiments.studies.RecoveryStudy`.
        target: "s", "|s|" or "s^2".
        measure: which score: "fresh_pearson", "fitted_spearman" and so on.
    """
    panels, methods, controls = _layout(rows)
    figure, axes = _axes(panels)
    lines: dict[str, Any] = {}
    for axis, (law, layers) in zip(axes.flat, panels, strict=False):
        for colour, method in zip(_colours(), methods, strict=False):
            values = _by_size(rows, law, layers, method, f"{measure}_{target}")
            if not values:
                continue
            sizes = sorted(values)
            mean, sd = (np.array([f(values[size]) for size in sizes]) for f in (np.mean, np.std))
            style = {"linestyle": "--", "markerfacecolor": "white"} if method in controls else {}
            (line,) = axis.plot(sizes, mean, marker="o", markersize=4, color=colour, **style)
            lines.setdefault(method, line)
            axis.fill_between(sizes, mean - sd, mean + sd, color=colour, alpha=0.12, linewidth=0)
        sizes = sorted({row["per_segment"] for row in rows})
        axis.set_xscale("log")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=SMALL)
        axis.minorticks_off()
        _dress(axis, law, layers)
    _say(figure, target, measure)
    figure.supxlabel("rows per segment", fontsize=9)
    labels = [f"{method} (control)" if method in controls else method for method in methods]
    handles = [lines[method] for method in methods]
    figure.legend(
        handles, labels, loc="outside right upper", frameon=False, fontsize=SMALL, handlelength=3.2, labelspacing=0.9
    )
    return figure


def recovery_boxes(rows: Sequence[Row], target: str, measure: str = "fresh_pearson") -> Figure:
    """Scores of all seeds at the largest number of rows per segment, one box a method; those of controls are dashed."""
    panels, methods, controls = _layout(rows)
    figure, axes = _axes(panels)
    columns, most = axes.shape[1], max(row["per_segment"] for row in rows)
    for number, (axis, (law, layers)) in enumerate(zip(axes.flat, panels, strict=False)):
        for place, (colour, method) in enumerate(zip(_colours(), methods, strict=False)):
            scores = _by_size(rows, law, layers, method, f"{measure}_{target}").get(most)
            if scores is None:
                continue
            pen = {"color": colour, "linestyle": "--" if method in controls else "-"}
            parts = {f"{part}props": pen for part in ("box", "whisker")} | {"medianprops": {"color": colour}}
            axis.boxplot([scores], positions=[place], widths=0.6, whis=(0, 100), showcaps=False, **parts)
            spread = np.linspace(-0.15, 0.15, len(scores)) if len(scores) > 1 else np.zeros(1)
            axis.plot(place + spread, scores, "o", color=colour, markersize=3, alpha=0.7)
        is_lowest = number + columns >= len(panels)
        names = [f"{method}*" if method in controls else method for method in methods] if is_lowest else []
        axis.set_xticks(range(len(methods)), names or [""] * len(methods), rotation=35, ha="right", fontsize=SMALL)
        axis.tick_params(axis="x", length=2)
        axis.set_xlim(-0.7, len(methods) - 0.3)
        _dress(axis, law, layers)
    _say(figure, target, measure)
    figure.supxlabel(f"{most:,} rows per segment; * control", fontsize=9)
    return figure


def _layout(rows: Sequence[Row]) -> tuple[list[tuple[str, int]], list[str], set[str]]:
    """Panels, methods and which of them are controls, in the order of the rows."""
    panels = list(dict.fromkeys((row["law"], row["layers"]) for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    return panels, methods, {row["method"] for row in rows if row["control"]}


def _axes(panels: Sequence[Any]) -> tuple[Figure, Any]:
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = blank(lines, columns, (1.6 + 3.5 * columns, 1.2 + 2.5 * lines), sharey=True)
    for axis in list(axes.flat)[len(panels) :]:
        axis.remove()
    return figure, axes


def _by_size(rows: Sequence[Row], law: str, layers: int, method: str, key: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for row in rows:
        if (row["law"], row["layers"], row["method"]) == (law, layers, method):
            found.setdefault(row["per_segment"], []).append(float(row[key]))
    return found


def _dress(axis: Any, law: str, layers: int) -> None:
    axis.set_title(f"{TITLES.get(law, law)}, {layers} layers", fontsize=10)
    axis.set_ylim(0, 1.03)
    axis.set_yticks(np.arange(6) / 5)
    axis.tick_params(axis="y", labelsize=SMALL)
    axis.set_axisbelow(True)
    axis.grid(axis="y", color="0.92")
    axis.spines[["top", "right"]].set_visible(False)


def _say(figure: Figure, target: str, measure: str) -> None:
    rows, _, method = measure.partition("_")
    figure.supylabel(f"MCC against {target}, {MEASURES.get(rows, rows)}{MEASURES.get(method, '')}", fontsize=9)


def _colours() -> Iterator[Any]:
    """Ten that differ, and then others; without end."""
    import matplotlib

    yield from matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    while True:
        yield from matplotlib.colormaps["Dark2"].colors  # type: ignore[attr-defined]
