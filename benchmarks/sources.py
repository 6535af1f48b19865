"""Quality, not time: put runs of source recovery together, `python benchmarks/sources.py RUN... --out FOLDER`.

Reads the cells that each run has finished, prints Markdown tables of the scores on fresh rows (mean over seeds, and the
standard deviation), and draws the curves and the box plots of all runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from logprob.experiments.figures.canvas import save
from logprob.experiments.figures.recovery import recovery_boxes, recovery_curves
from logprob.experiments.results import RunFolder
from logprob.experiments.studies.recovery import TARGET_FILES
from logprob.experiments.study import finished_cells

Row = Mapping[str, Any]


def read(runs: Sequence[Path]) -> list[Row]:
    """Rows of all finished cells; of methods in the order in which they first come."""
    rows = [row for run in runs for record in finished_cells(RunFolder(run)) for row in record["rows"]]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    laws = ["tcl", "imca"]

    def place(row: Row) -> tuple[int, int, int, int, int]:
        law, method = laws.index(row["law"]), methods.index(row["method"])
        return law, row["layers"], row["per_segment"], method, row["seed"]

    return sorted(rows, key=place)


def table(rows: Sequence[Row], law: str, layers: int, measure: str) -> str:
    """Methods down; for every target and number of rows a column."""
    mine = [row for row in rows if (row["law"], row["layers"]) == (law, layers)]
    sizes = sorted({row["per_segment"] for row in mine})
    head = ["method", *(f"{target}, {size}" for target in TARGET_FILES for size in sizes), "seeds", "seconds"]
    lines = [head, ["---"] * len(head)]
    for method in dict.fromkeys(row["method"] for row in mine):
        own = [row for row in mine if row["method"] == method]
        cells = [cell([r for r in own if r["per_segment"] == n], f"{measure}_{t}") for t in TARGET_FILES for n in sizes]
        seeds = len({row["seed"] for row in own})
        seconds = np.mean([row["seconds"] for row in own])
        lines.append([method, *cells, str(seeds), f"{seconds:.1f}"])
    return markdown(lines)


def cell(rows: Sequence[Row], key: str) -> str:
    """Mean and standard deviation over seeds."""
    values = [float(row[key]) for row in rows]
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}".replace("0.", ".") if values else ""


def nulls(rows: Sequence[Row]) -> str:
    """How many of the scores beat the 95 % quantile of each null, by method and target."""
    lines = [["method", *(f"{t} {null}" for t in TARGET_FILES for null in ("rows", "within"))]]
    lines.append(["---"] * len(lines[0]))
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        counts = []
        for target in TARGET_FILES:
            for null in ("rows", "within"):
                beaten = sum(row[f"fresh_pearson_{target}"] > row[f"null_{null}_{target}"] for row in own)
                counts.append(f"{beaten}/{len(own)}")
        lines.append([method, *counts])
    return markdown(lines)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as a table; bars inside a cell are escaped."""
    return "\n".join("| " + " | ".join(line).replace("|s|", "\\|s\\|") + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, help="folder of the figures")
    parser.add_argument("--measure", default="fresh_pearson", help="or fresh_spearman, fitted_pearson, fitted_spearman")
    arguments = parser.parse_args()
    rows = read(arguments.runs)
    for law, layers in dict.fromkeys((row["law"], row["layers"]) for row in rows):
        print(f"\n{law}, {layers} layers\n\n{table(rows, law, layers, arguments.measure)}")
    print(f"\nscores that beat the 95 % quantile of a null\n\n{nulls(rows)}")
    if arguments.out is not None:
        for target, name in TARGET_FILES.items():
            save(recovery_curves(rows, target), arguments.out / f"energy-curves-{name}.png")
            save(recovery_boxes(rows, target), arguments.out / f"energy-boxes-{name}.png")


if __name__ == "__main__":
    main()
