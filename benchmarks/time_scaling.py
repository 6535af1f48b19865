"""Time of a training step of one linear layer against its dimension: self-normalizing, exact, and the floor.

Dimensions 32, 128, ..., 4064 as in figure 4 of the paper of self-normalizing flows; batch 100, float32, one
thread, forward and backward without an optimizer. Writes a table and a figure.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from flows import PUBLISHED, six_products, step
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from timing import Step, take_turns

from logprob.flows import SelfNormalizingLinear

BATCH = 100
STYLES = {"exact": "C3", "self-normalizing": "C0", "self-normalizing, as published": "C9", "floor: six products": "0.6"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=4064)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--figure", type=Path, default=Path("time-scaling.png"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = list(range(32, options.largest + 1, 96))
    curves: dict[str, list[float]] = {name: [] for name in STYLES}
    print("     D  " + "  ".join(f"{name:>20}" for name in STYLES))
    for features in sizes:
        for name, value in times(features, options.rounds).items():
            curves[name].append(value)
        print(f"{features:6d}  " + "  ".join(f"{curve[-1]:20.2f}" for curve in curves.values()), flush=True)
    draw(sizes, curves, options.figure)
    print(f"milliseconds of CPU time, medians of {options.rounds}; figure: {options.figure}")


def times(features: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of each curve at one dimension."""
    x = torch.randn(BATCH, features)
    gradient = torch.randn(BATCH, features) / BATCH
    learned = SelfNormalizingLinear(features, init="identity-noise")
    exact = SelfNormalizingLinear(features, log_det="exact", init="identity-noise")
    steps: list[Step] = [
        step(exact, x, gradient),
        step(learned, x, gradient),
        step(learned, x, gradient, PUBLISHED),
        lambda: six_products(x, gradient, learned.weight.data, learned.inverse_weight),
    ]
    turns = take_turns(dict(zip(STYLES, steps, strict=True)), rounds, repeats=max(1, 500 // features))
    return {name: statistics.median(values) for name, values in turns.items()}


def draw(sizes: list[int], curves: dict[str, list[float]], path: Path) -> None:
    """Both axes logarithmic: a power law is a line, its exponent the slope."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, times in curves.items():
        axes.loglog(sizes, times, label=name, color=STYLES[name], linestyle="--" if "floor" in name else "-")
    axes.set(xlabel="dimension D", ylabel="milliseconds a step", title=f"One linear layer, batch {BATCH}, one thread")
    axes.grid(which="both", alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
