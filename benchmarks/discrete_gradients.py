"""Gradients through solvers beside the exact gradient: bias, variance, cosine, seconds and solver calls.

Three families that can be enumerated, all with scores from N(0, 1): 5 of 10 items, one of 10 items, spanning trees of 5
vertices (10 edges). Two functions of the structure, another one for each instance: ``|z - b|^2`` with
``b = |N(0, 1)|``, and ``v . tanh(z W)`` with 16 random units. The exact gradient is that of the *exponential family*
``p(z) ~ exp <z, scores>``; perturbed scores have another law unless one item is chosen, so their bias holds that
difference too.

Every estimate is the mean over S samples. Columns; means over the instances:

- solves: calls of the solver a sample, forward and backward (exact samples where the law is drawn from exactly)
- cosine: of a single estimate and the exact gradient
- bias: ``|E g - exact| / |exact|``, and in brackets what noise alone would show
- variance: ``tr Cov(g) / |exact|^2``
- ms: CPU time of forward and backward of all instances

An estimator that adapts sees 140 backward passes first. Nothing here is tuned to a problem: steps and temperatures are
the library's defaults, or 1.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rows import Row, write
from timing import processor
from torch import Tensor

import logprob
from logprob.discrete import (
    AIMLE,
    IMLE,
    BlackBox,
    ByPerturbation,
    Gumbel,
    KSubset,
    Noise,
    Normal,
    PaperStep,
    PerturbedOptimizer,
    SoftChoice,
    SoftSub,
    SoftSubset,
    SoftTree,
    SpanningTrees,
    StraightThroughIdentity,
    StraightThroughMarginals,
)
from logprob.gradients import Enumeration, GradientEstimator, LeaveOneOut, PathwiseGradient, ScoreFunction
from logprob.metrics.gradient_quality import GradientReport, gradient_report, scores_gradient

EDGES = 10
Make = Callable[[], GradientEstimator]


class Entry(NamedTuple):
    """An estimator of the table.

    Args:
        name: of the row.
        make: the estimator.
        solves: of the solver a sample; "exact" where the law is sampled without one.
        only: problems that it is for; all of them if empty.
        least: number of samples that it needs.
        most: samples beyond which nothing changes.
    """

    name: str
    make: Make
    solves: str
    only: tuple[str, ...] = ()
    least: int = 1
    most: int = 1000


def perturbed(make: Callable[[], PathwiseGradient], noise: Noise | None = Gumbel()) -> Make:  # noqa: B008
    """An estimator of perturb-and-MAP in place of the exact law."""
    return lambda: ByPerturbation(make(), noise)


SUBSETS = ("5 of 10", "1 of 10")
ENTRIES = (
    Entry("I-MLE, forward, step 1", perturbed(lambda: IMLE(1.0)), "2"),
    Entry("I-MLE, central, step 1", perturbed(lambda: IMLE(1.0, difference="central")), "3"),
    Entry("AIMLE, forward", perturbed(lambda: AIMLE(difference="forward")), "2"),
    Entry("AIMLE, central (default)", perturbed(AIMLE), "3"),
    Entry("AIMLE, central, published rule, target 1", perturbed(lambda: IMLE(PaperStep(rate=1e-2), "central")), "3"),
    Entry("identity (straight-through)", perturbed(StraightThroughIdentity), "1"),
    Entry("identity, projected", perturbed(lambda: StraightThroughIdentity(project=True)), "1"),
    Entry("black box, step 1", perturbed(lambda: BlackBox(1.0), None), "2", most=1),
    Entry("perturbed optimizer, Gumbel", perturbed(PerturbedOptimizer), "1"),
    Entry("perturbed optimizer, normal", perturbed(PerturbedOptimizer, Normal()), "1"),
    Entry("perturbed, leave-one-out", perturbed(lambda: PerturbedOptimizer("leave-one-out")), "1", least=2),
    Entry("Gumbel-Softmax, temperature 0.5", perturbed(lambda: SoftChoice(0.5)), "0", ("1 of 10",)),
    Entry("SoftSub, temperature 0.5", perturbed(lambda: SoftSub(0.5)), "0", SUBSETS),
    Entry("relaxed subset (SST), temperature 0.5", perturbed(lambda: SoftSubset(0.5)), "0", SUBSETS),
    Entry("relaxed tree (SST), temperature 0.5", perturbed(lambda: SoftTree(0.5)), "0", ("trees",)),
    Entry("SIMPLE", StraightThroughMarginals, "exact"),
    Entry("score function", ScoreFunction, "exact"),
    Entry("score function, leave-one-out", LeaveOneOut, "exact", least=2),
)


class Problem:
    """A family, scores and a function of each of some instances.

    Args:
        family: one of ``"5 of 10"``, ``"1 of 10"`` and ``"trees"``.
        function: ``"quadratic"`` or ``"tanh"``.
        instances: how many.
        seed: of scores and function.
    """

    def __init__(self, family: str, function: str, instances: int, seed: int = 0) -> None:
        stream = torch.Generator().manual_seed(seed)
        self.family = family
        self.scores = torch.randn(instances, EDGES, generator=stream)
        targets = torch.randn(instances, EDGES, generator=stream).abs()
        weight = torch.randn(instances, EDGES, 16, generator=stream)
        output = torch.randn(instances, 16, 1, generator=stream)
        functions: dict[str, Callable[[Tensor], Tensor]] = {
            "quadratic": lambda z: (z - targets).square().sum(-1),
            "tanh": lambda z: ((z.unsqueeze(-2) @ weight).tanh() @ output)[..., 0, 0],
        }
        self.f = functions[function]
        self.exact = scores_gradient(Enumeration(), self.law(), self.f)

    def law(self) -> Any:
        """The exact law, with scores to differentiate."""
        scores = self.scores.clone().requires_grad_()
        if self.family == "trees":
            return SpanningTrees(scores)
        return KSubset(scores, 1 if self.family == "1 of 10" else 5)


def measure(entry: Entry, problem: Problem, samples: int, repeats: int) -> tuple[GradientReport, float]:
    """The report of one estimator, and milliseconds of an estimate."""
    torch.manual_seed(0)
    gradient = entry.make().train()
    for _ in range(140 if "AIMLE" in entry.name else 0):
        scores_gradient(gradient, problem.law(), problem.f, (samples,))
    started = time.process_time()
    found = [scores_gradient(gradient, problem.law(), problem.f, (samples,)) for _ in range(repeats)]
    milliseconds = 1e3 * (time.process_time() - started) / repeats
    return gradient_report(torch.stack(found), problem.exact), milliseconds


def rows(arguments: argparse.Namespace) -> list[Row]:
    """One row for each family, function, estimator and number of samples."""
    found = []
    for family in ("5 of 10", "1 of 10", "trees"):
        for function in ("quadratic", "tanh"):
            problem = Problem(family, function, arguments.instances)
            for entry in ENTRIES:
                if entry.only and family not in entry.only:
                    continue
                for samples in arguments.samples:
                    if not entry.least <= samples <= entry.most:
                        continue
                    report, milliseconds = measure(entry, problem, samples, arguments.repeats)
                    noise = math.sqrt(report.variance / arguments.repeats)
                    key = {"family": family, "function": function, "estimator": entry.name, "samples": samples}
                    rest = {"solves": entry.solves, "noise": noise, "ms": milliseconds}
                    found.append({**key, **report._asdict(), **rest})
    return found


def report_table(table: list[Row]) -> None:
    """Print one Markdown table for each family and function."""
    for family, function in dict.fromkeys((row["family"], row["function"]) for row in table):
        print(f"\n### {family}, {function}\n")
        counts = sorted({row["samples"] for row in table})
        heads = [f"S = {count}: cosine, bias (noise), variance, ms" for count in counts]
        print(f"| estimator | solves | {' | '.join(heads)} |")
        print(f"|---|---|{'---|' * len(counts)}")
        chosen = [row for row in table if (row["family"], row["function"]) == (family, function)]
        for name in dict.fromkeys(row["estimator"] for row in chosen):
            mine = {row["samples"]: row for row in chosen if row["estimator"] == name}
            cells = [cell(mine.get(count)) for count in counts]
            print(f"| {name} | {next(iter(mine.values()))['solves']} | {' | '.join(cells)} |")


def cell(row: Row | None) -> str:
    """The numbers of one estimator at one S."""
    if row is None:
        return ""
    bias = f"{row['bias']:.2f} ({row['noise']:.2f})"
    return f"**{row['cosine']:.2f}**, {bias}, {row['variance']:.2g}, {row['ms']:.1f}"


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=64)
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--repeats", type=int, default=200, help="estimates of each gradient")
    parser.add_argument("--out", type=Path, help="folder for a CSV file and the picture")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    print(
        f"logprob {logprob.__version__}, torch {torch.__version__}, Python {platform.python_version()}, {processor()}"
    )
    table = rows(arguments)
    report_table(table)
    if arguments.out:
        from discrete_gradient_figures import draw_figures

        arguments.out.mkdir(parents=True, exist_ok=True)
        write(arguments.out / "discrete-gradients.csv", table)
        draw_figures(table, arguments.out)


if __name__ == "__main__":
    main()
