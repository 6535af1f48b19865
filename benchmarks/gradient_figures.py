"""Pictures of the table of gradient estimators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

Row = dict[str, Any]
UNBIASED = 1e-3  # where estimators without bias are drawn on a logarithmic axis
MARKERS = {"concrete": "o", "gaussian": "s", "categories": "^"}
LAWS = {"concrete": "Concrete", "gaussian": "invertible Gaussian", "categories": "either"}
WITHOUT_BIAS = ("REBAR", "RELAX", "score function", "leave-one-out", "DisARM")
TICKS = (0.03, 0.1, 0.3, 1)
FIXED = ("straight-through", "ReinMax")
NOT_DRAWN = ("entmax 1.5", "sparsemax")  # no variance to draw


def draw_figures(table: list[Row], folder: Path) -> None:
    """Bias against variance for every problem, and how the temperature moves both."""
    rows = [row for row in table if row["estimator"] not in NOT_DRAWN]
    colours = {name: f"C{i}" if i < 10 else ("black", "gold", "teal")[i - 10] for i, name in enumerate(_names(rows))}
    trade_off(rows, colours, folder / "simplex-gradients.png")
    curves(rows, colours, folder / "simplex-gradients-temperature.png")


def trade_off(rows: list[Row], colours: dict[str, str], path: Path) -> None:
    """One panel for each function and number of categories, at the middle temperature."""
    tempered = sorted({row["temperature"] for row in rows if row["temperature"] != "-"})
    middle = tempered[len(tempered) // 2]
    shown = [row for row in rows if row["temperature"] in ("-", middle)]
    sizes, functions = _values(shown, "categories"), _values(shown, "function")
    figure, axes = plt.subplots(
        len(functions), len(sizes), figsize=(4 * len(sizes), 3 * len(functions)), sharex=True, squeeze=False
    )
    for line, function in zip(axes, functions, strict=True):
        for axis, size in zip(line, sizes, strict=True):
            for row in shown:
                if (row["function"], row["categories"]) == (function, size):
                    axis.plot(_bias(row), row["variance"], MARKERS[row["law"]], color=colours[row["estimator"]], ms=7)
            axis.axvline(2 * UNBIASED, color="0.7", lw=0.8)
            axis.set(xscale="log", yscale="log", title=f"{function}, K = {size}")
            axis.set_xlim(UNBIASED / 2, 4)
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.set_xticks([UNBIASED, 1e-2, 1e-1, 1], ["none seen", "0.01", "0.1", "1"])
    figure.supxlabel("bias / norm of the exact gradient")
    figure.supylabel("variance / squared norm of the exact gradient")
    _legend(figure, colours)
    figure.suptitle(f"One estimate each; temperature {middle} where there is one")
    _save(figure, path)


def curves(rows: list[Row], colours: dict[str, str], path: Path) -> None:
    """Lines through the temperatures: whoever is below and to the left of another has less of both."""
    rows = [row for row in rows if _is_biased(row)]
    shown = [row for row in rows if row["temperature"] != "-"]
    fixed = [row for row in rows if row["estimator"] in FIXED]
    sizes, functions = _values(shown, "categories"), _values(shown, "function")
    figure, axes = plt.subplots(len(functions), len(sizes), figsize=(4 * len(sizes), 3 * len(functions)), squeeze=False)
    for line, function in zip(axes, functions, strict=True):
        for axis, size in zip(line, sizes, strict=True):
            here = [row for row in shown if (row["function"], row["categories"]) == (function, size)]
            _lines(here, colours, axis)
            for row in fixed:
                if (row["function"], row["categories"]) == (function, size) and row["variance"] > 1e-9:
                    axis.plot(row["bias"], row["variance"], "^", color=colours[row["estimator"]], ms=8)
            axis.set(xscale="log", yscale="log", title=f"{function}, K = {size}")
            axis.set_xticks(TICKS, TICKS, minor=False)
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_xlim(0.018, 1.3)
    figure.supxlabel("bias / norm of the exact gradient")
    figure.supylabel("variance / squared norm of the exact gradient")
    _legend(figure, {name: colours[name] for name in (*_names(shown), *FIXED)})
    figure.suptitle(
        "Solid: Concrete, dashed: invertible Gaussian; numbers are temperatures. Biases within the noise are left out"
    )
    _save(figure, path)


def _lines(rows: list[Row], colours: dict[str, str], axis: Any) -> None:
    for name, law in dict.fromkeys((row["estimator"], row["law"]) for row in rows):
        line = [row for row in rows if (row["estimator"], row["law"]) == (name, law)]
        bias, variance = [row["bias"] for row in line], [row["variance"] for row in line]
        style = "-" if law == "concrete" else "--"
        axis.plot(bias, variance, style, marker=MARKERS[law], color=colours[name], ms=5)
        if name == "relaxed":
            for row in line:
                axis.annotate(row["temperature"], (row["bias"], row["variance"]), fontsize=7, color="0.3")


def _bias(row: Row) -> float:
    return max(row["bias"], 3 * UNBIASED) if _is_biased(row) else UNBIASED


def _is_biased(row: Row) -> bool:
    """Whether the bias is clear of the noise."""
    return bool(not row["estimator"].startswith(WITHOUT_BIAS) and row["bias"] > 3 * row["noise"])


def _values(rows: list[Row], name: str) -> list[Any]:
    return list(dict.fromkeys(row[name] for row in rows))


def _names(rows: list[Row]) -> list[str]:
    return _values(rows, "estimator")


def _legend(figure: Any, colours: dict[str, str]) -> None:
    names = [Line2D([], [], color=colour, marker="D", ls="", label=name) for name, colour in colours.items()]
    laws = [Line2D([], [], color="0.4", marker=m, ls="", label=f"law: {LAWS[law]}") for law, m in MARKERS.items()]
    figure.legend(handles=[*names, *laws], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
