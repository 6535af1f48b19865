"""Noise of the reparameterisation gradient: the invertible Gaussian beside the Concrete law (Gumbel-Softmax).

Both have the same category probabilities. The relative noise ``tr Cov(g) / |E g|^2`` is of the gradient with respect to
the means of the one and to the logits of the other; the raw trace depends on those coordinates, the relative noise much
less. Ratios are Concrete over invertible Gaussian: above 1, the invertible Gaussian is the quieter one.

With ``--match`` the temperature of the invertible Gaussian is moved until its samples are as near to the vertices, on
average, as those of the Concrete law.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from gradient_problems import FUNCTIONS, Problem, concrete, gaussian
from torch import Tensor

from logprob.gradients import CategoricalLaw, Reparameterized

Make = Callable[[Tensor, float], CategoricalLaw]


class Noise(NamedTuple):
    """Trace of the covariance of single estimates, and that over the squared norm of their mean."""

    trace: float
    relative: float


def noise(make: Make, parameters: Tensor, temperature: float, problem: Problem, draws: int) -> Noise:
    """Of ``draws`` estimates of the gradient with respect to ``parameters``."""
    copies = parameters.expand(draws, 1, -1).clone().requires_grad_()
    value = Reparameterized()(make(copies, temperature), problem.f)
    (found,) = torch.autograd.grad(value.sum(), copies)
    trace, mean = found.var(0).sum().item(), found.mean(0)
    return Noise(trace, trace / mean.square().sum().item())


def distance(make: Make, parameters: Tensor, temperature: float, draws: int) -> float:
    """Mean Euclidean distance of samples to the nearest vertex, on the same noise every time."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    psi = make(parameters, temperature).rsample((draws,))
    torch.set_rng_state(state)
    largest = psi.amax(-1)
    return (psi.square().sum(-1) - 2 * largest + 1).clamp(min=0).sqrt().mean().item()


def matched(problem: Problem, temperature: float, draws: int) -> float:
    """The temperature at which the invertible Gaussian is as near to the vertices as the Concrete law."""
    target = distance(concrete, problem.logits, temperature, draws)
    low, high = 1e-3, 20.0
    for _ in range(40):
        middle = (low * high) ** 0.5
        near = distance(gaussian, problem.loc, middle, draws) < target
        low, high = (middle, high) if near else (low, middle)
    return middle


def rows(arguments: argparse.Namespace) -> list[dict[str, float | str]]:
    """One row for each temperature, function and seed."""
    found: list[dict[str, float | str]] = []
    for temperature in arguments.temperatures:
        for function in FUNCTIONS:
            for seed in range(arguments.seeds):
                problem = Problem(arguments.categories, function, seed)
                torch.manual_seed(seed)
                at = matched(problem, temperature, arguments.draws) if arguments.match else temperature
                theirs = noise(concrete, problem.logits, temperature, problem, arguments.draws)
                ours = noise(gaussian, problem.loc, at, problem, arguments.draws)
                found.append(
                    {
                        "temperature": temperature,
                        "gaussian_temperature": at,
                        "function": function,
                        "seed": seed,
                        "relative_concrete": theirs.relative,
                        "relative_gaussian": ours.relative,
                        "relative_ratio": theirs.relative / ours.relative,
                        "trace_ratio": theirs.trace / ours.trace,
                    }
                )
    return found


def summary(values: list[float]) -> str:
    """Mean, lowest and highest."""
    return f"{statistics.mean(values):6.2f} ({min(values):.2f} to {max(values):.2f})"


def report(found: list[dict[str, float | str]], temperatures: list[float]) -> None:
    """Print a table of ratios."""
    print(f"{'temperature':>11} {'of Gaussian':>12}  {'relative noise':24}{'raw trace':24}")
    for temperature in temperatures:
        part = [row for row in found if row["temperature"] == temperature]
        at = statistics.mean(float(row["gaussian_temperature"]) for row in part)
        columns = [summary([float(row[name]) for row in part]) for name in ("relative_ratio", "trace_ratio")]
        print(f"{temperature:11} {at:12.2f}  {columns[0]:24}{columns[1]:24}")


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--categories", type=int, default=10)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.5, 0.25, 0.1])
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--match", action="store_true", help="match the distance to the vertices, not the temperature")
    parser.add_argument("--out", type=Path, help="folder for a CSV file")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    found = rows(arguments)
    report(found, arguments.temperatures)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        name = "gradient-noise-matched.csv" if arguments.match else "gradient-noise.csv"
        with (arguments.out / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, found[0].keys())
            writer.writeheader()
            writer.writerows(found)


if __name__ == "__main__":
    main()
