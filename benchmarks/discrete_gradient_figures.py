"""The picture of the table of gradients through solvers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

Row = dict[str, Any]
STYLES = ("-", "--", ":")


def draw_figures(table: list[Row], folder: Path) -> None:
    """Cosine against the number of samples, one panel for each family and function."""
    families = list(dict.fromkeys(row["family"] for row in table))
    functions = list(dict.fromkeys(row["function"] for row in table))
    names = list(dict.fromkeys(row["estimator"] for row in table))
    size = (4 * len(families), 3.2 * len(functions))
    figure, axes = plt.subplots(len(functions), len(families), figsize=size, sharex=True, sharey=True, squeeze=False)
    for line, function in zip(axes, functions, strict=True):
        for axis, family in zip(line, families, strict=True):
            chosen = [row for row in table if (row["family"], row["function"]) == (family, function)]
            for index, name in enumerate(names):
                mine = sorted((row["samples"], row["cosine"]) for row in chosen if row["estimator"] == name)
                style = {
                    "color": f"C{index % 10}",
                    "ls": STYLES[index // 10],
                    "marker": "o",
                    "ms": 3,
                    "lw": 3 if "default" in name else 1.2,
                }
                axis.plot([s for s, _ in mine], [c for _, c in mine], label=name, **style)
            axis.set(xscale="log", title=f"{family}, {function}", ylim=(-0.05, 1.02))
            axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("samples S")
    figure.supylabel("cosine of one estimate and the exact gradient")
    handles, labels = axes[0][0].get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=3, fontsize=8)
    figure.set_layout_engine("constrained")
    figure.savefig(folder / "discrete-gradients.png", dpi=110)
    plt.close(figure)
