"""Gradient estimators beside each other: bias, variance, cosine and time, on expectations that can be enumerated.

One variable of K categories. Its law is that of an invertible Gaussian with scale 1 and means from N(0, 1); the
Concrete law has the same probabilities. Every gradient is compared as one with respect to the logits of the categories:
that of the Gaussian's means is carried there by the Jacobian between the two (``gradient_problems.Problem.to_logits``).
Where an estimator asks for the probabilities alone, both laws are the same, and the row says "categories".

Columns; sums in the quotients are over the seeds:

- calls: evaluations of f for one estimate
- bias: root of ``sum |E g - exact|^2 / sum |exact|^2``, and in brackets what noise alone would show
- variance: ``sum tr Cov(g) / sum |exact|^2`` of one estimate
- cosine: between the mean estimate and the exact gradient; single: mean cosine of single estimates; means over seeds
- error: ``|E g - exact|`` in standard errors, the largest over the seeds and over those categories that are expected at
  least a hundred times among the draws
- ms: forward and backward of 100 rows of the MLP, CPU time

REBAR and RELAX are trained first, by the gradient that they give themselves; their temperature starts at 0.5.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gradient_problems import FUNCTIONS, Problem, concrete, gaussian
from rows import Row, write
from timing import processor, take_turns
from torch import Tensor

import logprob
from logprob.gradients import (
    DisARM,
    GradientEstimator,
    LeaveOneOut,
    Reparameterized,
    RunningMean,
    ScoreFunction,
    StraightThrough,
    StraightThroughRelaxed,
)
from logprob.simplex import REBAR, RELAX, ControlNetwork, Entmax, GumbelRao, ReinMax

CHUNK = 2_000_000  # numbers held at once
TIMED_ROWS = 100


class Entry(NamedTuple):
    """An estimator of the table.

    Args:
        name: of the row.
        law: ``"concrete"``, ``"gaussian"``, or ``"categories"`` where it does not matter.
        make: from K.
        tempered: whether the temperature of the law makes a difference.
        calls: of f for one estimate.
        samples: whose mean is one estimate.
        share: of the draws, where one is expensive.
        categories: that it can take; None for any number.
    """

    name: str
    law: str
    make: Callable[[int], GradientEstimator]
    tempered: bool = False
    calls: int = 1
    samples: int = 1
    share: float = 1.0
    categories: int | None = None


def relax(categories: int) -> RELAX:
    return RELAX(ControlNetwork(1, categories).double())


ENTRIES = (
    Entry("relaxed", "concrete", lambda k: Reparameterized(), tempered=True),
    Entry("relaxed", "gaussian", lambda k: Reparameterized(), tempered=True),
    Entry("straight-through relaxed", "concrete", lambda k: StraightThroughRelaxed(), tempered=True),
    Entry("straight-through relaxed", "gaussian", lambda k: StraightThroughRelaxed(), tempered=True),
    Entry("Gumbel-Rao (10)", "concrete", lambda k: GumbelRao(10), tempered=True),
    Entry("Gumbel-Rao (10)", "gaussian", lambda k: GumbelRao(10), tempered=True, share=0.1),
    Entry("REBAR", "concrete", lambda k: REBAR(), calls=3),
    Entry("REBAR", "gaussian", lambda k: REBAR(), calls=3, share=0.2),
    Entry("RELAX", "concrete", relax, calls=3),
    Entry("RELAX", "gaussian", relax, calls=3, share=0.2),
    Entry("straight-through", "categories", lambda k: StraightThrough()),
    Entry("straight-through, backward at 2", "categories", lambda k: StraightThrough(2.0)),
    Entry("ReinMax", "categories", lambda k: ReinMax()),
    Entry("score function", "categories", lambda k: ScoreFunction()),
    Entry("score function, running mean", "categories", lambda k: ScoreFunction(RunningMean())),
    Entry("leave-one-out (2)", "categories", lambda k: LeaveOneOut(), calls=2, samples=2),
    Entry("leave-one-out (10)", "categories", lambda k: LeaveOneOut(), calls=10, samples=10),
    Entry("DisARM", "categories", lambda k: DisARM(), calls=2, categories=2),
    Entry("entmax 1.5", "categories", lambda k: Entmax(1.5)),
    Entry("sparsemax", "categories", lambda k: Entmax(2.0)),
)


def start(entry: Entry, problem: Problem) -> tuple[Tensor, Callable[[Tensor, float], Any]]:
    """The parameters that are differentiated, and the law that has them."""
    return (problem.loc, gaussian) if entry.law == "gaussian" else (problem.logits, concrete)


def draw(entry: Entry, estimator: GradientEstimator, problem: Problem, temperature: float, rows: int) -> Tensor:
    """Estimates of the gradient with respect to the logits, ``(rows, K)``."""
    parameters, make = start(entry, problem)
    copies = parameters.expand(rows, 1, -1).clone().requires_grad_()
    shape = (entry.samples,) if entry.samples > 1 else ()
    value = estimator(make(copies, temperature), problem.f, shape)
    value = value.mean(0) if shape else value
    (found,) = torch.autograd.grad(value.sum(), copies)
    found = found.squeeze(1)
    return problem.to_logits(found) if entry.law == "gaussian" else found


def draws(entry: Entry, estimator: GradientEstimator, problem: Problem, temperature: float, count: int) -> Tensor:
    """The same in parts, so that memory is bounded."""
    size = max(1, CHUNK // (10 * len(problem.logits) * entry.samples))
    parts = [draw(entry, estimator, problem, temperature, min(size, count - i)) for i in range(0, count, size)]
    return torch.cat(parts)


def train(entry: Entry, estimator: GradientEstimator, problem: Problem, temperature: float, steps: int) -> None:
    """Adam on the estimator's own parameters; a running mean only has to see some values."""
    parameters, make = start(entry, problem)
    free = list(estimator.parameters())
    if not free:
        draw(entry, estimator, problem, temperature, 1000 if entry.name.endswith("mean") else 1)
        return
    optimizer = torch.optim.Adam(free, lr=2e-2)
    copies = parameters.expand(32, 1, -1).clone().requires_grad_()
    for _ in range(steps):
        optimizer.zero_grad()
        estimator(make(copies, temperature), problem.f).mean().backward()
        optimizer.step()
    estimator.requires_grad_(False)


def measure(found: Tensor, problem: Problem) -> Row:
    """Bias, variance and cosines of estimates ``(draws, K)``."""
    exact, common = problem.gradient, problem.logits.exp() * len(found) >= 100
    mean, size = found.mean(0), len(found)
    spread = (found.var(0) / size).sqrt()
    cosine = torch.nn.functional.cosine_similarity
    return {
        "draws": size,
        "exact_norm": exact.norm().item(),
        "bias_norm": (mean - exact).norm().item(),
        "noise_norm": spread.norm().item(),
        "trace": found.var(0).sum().item(),
        "cosine": cosine(mean, exact, dim=0).item(),
        "single": cosine(found, exact.expand_as(found), dim=1).mean().item(),
        "error": max(((mean - exact).abs() / spread)[common].tolist(), default=math.nan)
        if spread.max() > 1e-12
        else math.nan,
    }


def rows(categories: int, arguments: argparse.Namespace) -> list[Row]:
    """One row for each function, estimator, temperature and seed."""
    found = []
    for function in arguments.functions:
        for seed in range(arguments.seeds):
            found += problem_rows(Problem(categories, function, seed), arguments, function, seed)
    return found


def problem_rows(problem: Problem, arguments: argparse.Namespace, function: str, seed: int) -> list[Row]:
    """The rows of one problem."""
    categories, found = len(problem.logits), []
    for entry in ENTRIES:
        if entry.categories not in (None, categories):
            continue
        for temperature in arguments.temperatures if entry.tempered else arguments.temperatures[:1]:
            torch.manual_seed(seed)
            estimator = entry.make(categories)
            train(entry, estimator, problem, temperature, arguments.steps)
            share = entry.share / (5 if categories > 20 and entry.share < 1 else 1)
            count = max(100, int(arguments.draws * share))
            numbers = measure(draws(entry, estimator, problem, temperature, count), problem)
            key = {"categories": categories, "function": function, "estimator": entry.name, "law": entry.law}
            shown = temperature if entry.tempered else "-"
            found.append({**key, "temperature": shown, "seed": seed, "calls": entry.calls, **numbers})
    return found


def times(categories: int, temperature: float) -> dict[tuple[str, str], float]:
    """Milliseconds of forward and backward of 100 rows, by estimator and law; they take turns."""
    problem, steps = Problem(categories, "mlp", 0), {}
    for entry in ENTRIES:
        if entry.categories in (None, categories):
            steps[f"{entry.name}|{entry.law}"] = timed(entry, problem, temperature)
    turns = take_turns(steps, rounds=7, repeats=3)
    return {(name.split("|")[0], name.split("|")[1]): statistics.median(each) for name, each in turns.items()}


def timed(entry: Entry, problem: Problem, temperature: float) -> Callable[[], object]:
    """One step to time."""
    estimator = entry.make(len(problem.logits))
    parameters, make = start(entry, problem)
    copies = parameters.expand(TIMED_ROWS, 1, -1).clone().requires_grad_()
    shape = (entry.samples,) if entry.samples > 1 else ()
    return lambda: estimator(make(copies, temperature), problem.f, shape).mean().backward()


def averaged(found: list[Row]) -> list[Row]:
    """Quotients of sums over the seeds, means of cosines, the largest error."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        key = tuple(row[name] for name in ("categories", "function", "estimator", "law", "temperature"))
        groups.setdefault(key, []).append(row)
    result = []
    for group in groups.values():
        exact = sum(row["exact_norm"] ** 2 for row in group)
        shares = {name: (sum(row[f"{name}_norm"] ** 2 for row in group) / exact) ** 0.5 for name in ("bias", "noise")}
        cosines = {name: statistics.mean(row[name] for row in group) for name in ("cosine", "single")}
        variance = sum(row["trace"] for row in group) / exact
        error = max((row["error"] for row in group if not math.isnan(row["error"])), default=math.nan)
        result.append({**group[0], **shares, **cosines, "variance": variance, "error": error})
    return result


def report(table: list[Row], milliseconds: dict[tuple[str, str], float]) -> None:
    """Print one Markdown table for each number of categories and function."""
    for categories, function in dict.fromkeys((row["categories"], row["function"]) for row in table):
        print(f"\n### K = {categories}, {function}\n")
        print("| estimator | law | temperature | calls | bias (noise) | variance | cosine | single | error | ms |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for row in table:
            if (row["categories"], row["function"]) == (categories, function):
                ms = milliseconds.get((row["estimator"], row["law"]), math.nan)
                print(
                    f"| {row['estimator']} | {row['law']} | {row['temperature']} | {row['calls']} | {row['bias']:.3f} "
                    f"({row['noise']:.3f}) | {row['variance']:.3g} | {row['cosine']:.3f} | {row['single']:.3f} | "
                    f"{row['error']:.1f} | {ms:.2f} |"
                )


def report_equal_bias(table: list[Row]) -> None:
    """Print variances of relaxed estimators at the same bias, where that is clear of the noise; between temperatures,
    logarithms are interpolated."""
    print("\nVariance at equal bias, Concrete over invertible Gaussian, at the bias that the Concrete law has:\n")
    print("| K | function | estimator | temperature: ratio |")
    print("|---|---|---|---|")
    for key in dict.fromkeys(
        (r["categories"], r["function"], r["estimator"]) for r in table if r["temperature"] != "-"
    ):
        lines = {
            law: sorted(
                (math.log(r["bias"]), math.log(r["variance"]), r["temperature"])
                for r in table
                if (r["categories"], r["function"], r["estimator"], r["law"]) == (*key, law)
                and r["bias"] > 3 * r["noise"]
            )
            for law in ("concrete", "gaussian")
        }
        ratios = [(at, variance, on_line(bias, lines["gaussian"])) for bias, variance, at in lines["concrete"]]
        shown = [f"{at}: {math.exp(variance - other):.2f}" for at, variance, other in ratios if other is not None]
        print(f"| {' | '.join(map(str, key))} | {', '.join(shown)} |")


def on_line(x: float, line: list[tuple[float, float, float]]) -> float | None:
    """The second coordinate at ``x`` of the line through points; None beyond its ends."""
    for (left, low, _), (right, high, _) in pairwise(line):
        if left <= x <= right:
            return low + (high - low) * (x - left) / (right - left)
    return None


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--categories", type=int, nargs="+", default=[2, 10, 100])
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, default=list(FUNCTIONS))
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.5, 0.25, 0.1])
    parser.add_argument("--draws", type=int, default=20_000, help="estimates of each gradient; of costly ones a share")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300, help="of training an estimator's own parameters")
    parser.add_argument("--untimed", action="store_true")
    parser.add_argument("--out", type=Path, help="folder for a CSV file and the pictures")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    print(
        f"logprob {logprob.__version__}, torch {torch.__version__}, Python {platform.python_version()}, {processor()}"
    )
    found = []
    for categories in arguments.categories:
        part = rows(categories, arguments)
        report(averaged(part), {} if arguments.untimed else times(categories, 0.5))
        found += part
    report_equal_bias(averaged(found))
    if arguments.out:
        from gradient_figures import draw_figures

        arguments.out.mkdir(parents=True, exist_ok=True)
        write(arguments.out / "simplex-gradients.csv", found)
        draw_figures(averaged(found), arguments.out)


if __name__ == "__main__":
    main()
