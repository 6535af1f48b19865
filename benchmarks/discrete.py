"""Solvers as layers: what is around the solver calls, beside PyEPO; solvers beside loops of scipy; noise.

All sides of a table take turns in one process on one thread, so that a busy machine slows them alike. Every call has
other inputs than the one before, on all sides: on the same ones a processor learns the branches of a solver by heart.
Nothing is asserted: the last column says how many times longer a line takes than the first line of its table.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from itertools import cycle, product
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from timing import processor, take_turns
from torch import Tensor

from logprob.discrete.identity import StraightThroughIdentity
from logprob.discrete.implicit import AIMLE, IMLE
from logprob.discrete.noise import Gumbel, Noise, Normal
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.perturbed import PerturbedOptimizer
from logprob.discrete.solvers.assignment import Assignment
from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.grid_path import GridPath
from logprob.discrete.solvers.python import PythonSolver
from logprob.discrete.solvers.spanning_tree import SpanningTree, matrix_of
from logprob.discrete.solvers.top_k import TopK
from logprob.discrete.sum_of_gamma import SumOfGamma
from logprob.gradients import PathwiseGradient

try:
    import pyepo
    from pyepo.func import adaptiveImplicitMLE, implicitMLE, perturbedOpt
    from pyepo.model.opt import optModel
except ModuleNotFoundError:
    pyepo = None
    optModel = object

ITEMS, CHOSEN = 350, 10
INPUTS = 8
Step = Callable[[], object]
T = TypeVar("T")


def inputs(make: Callable[[], T]) -> Iterator[T]:
    """Some inputs, in turn."""
    return cycle([make() for _ in range(INPUTS)])


def best_items(scores: NDArray[Any]) -> NDArray[Any]:
    """The numpy solver of both sides: indicator of the largest scores of one instance."""
    z = np.zeros_like(scores)
    z[np.argpartition(scores, -CHOSEN)[-CHOSEN:]] = 1
    return z


def perturbed_scores(rows: int, samples: int) -> Tensor:
    """As a layer solves them, samples and instances in one dimension."""
    return torch.randn(rows, ITEMS).repeat(samples, 1) + Gumbel().sample((samples * rows, ITEMS))


def layer(
    rows: int, samples: int, solver: Solver, gradient: PathwiseGradient, noise: Noise, mean: bool = False
) -> Step:
    """Forward and backward pass with the least loss, a weighted sum, of all samples or of their mean."""
    each, weights = inputs(lambda: torch.randn(rows, ITEMS, requires_grad=True)), torch.randn(rows, ITEMS)

    def step() -> None:
        scores = next(each)
        scores.grad = None
        z = PerturbAndMAP(scores, solver, noise=noise, gradient=gradient).rsample((samples,))
        ((z.mean(0) if mean else z) * weights).sum().backward()

    return step


def bare(rows: int, samples: int, solver: Solver) -> Step:
    """The solver twice, forward and backward, and nothing else."""
    each = inputs(partial(perturbed_scores, rows, samples))
    return lambda: (solver(next(each)), solver(next(each)))


def layers(rows: int, samples: int) -> Mapping[str, Step]:
    """What the gradients take beyond the solver."""
    gradients: dict[str, tuple[PathwiseGradient, Noise]] = {
        "IMLE forward": (IMLE(1.0, difference="forward"), Gumbel()),
        "IMLE central": (IMLE(1.0, difference="central"), Gumbel()),
        "AIMLE forward": (AIMLE(difference="forward"), Gumbel()),
        "AIMLE central (default)": (AIMLE(), Gumbel()),
        "AIMLE central, Sum-of-Gamma": (AIMLE(), SumOfGamma(CHOSEN)),
        "identity": (StraightThroughIdentity(), Gumbel()),
        "PerturbedOptimizer": (PerturbedOptimizer(), Gumbel()),
        "PerturbedOptimizer, Normal": (PerturbedOptimizer(), Normal()),
    }
    solver = TopK(CHOSEN)
    steps = {name: layer(rows, samples, solver, *pair) for name, pair in gradients.items()}
    return {"two bare solves": bare(rows, samples, solver), **steps}


class BestItems(optModel):
    """`best_items` in the form that PyEPO asks for."""

    def _getModel(self) -> tuple[None, range]:
        self.modelSense = pyepo.EPO.MAXIMIZE
        return None, range(ITEMS)

    def setObj(self, c: NDArray[Any]) -> None:
        """Remember the scores."""
        self.scores = c

    def solve(self) -> tuple[NDArray[Any], float]:
        """Indicator and its total score."""
        z = best_items(self.scores)
        return z, float(z @ self.scores)


class GumbelOfTorch:
    """Gumbel noise for PyEPO, so that both sides draw the same."""

    def sample(self, size: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
        """Independent draws."""
        return Gumbel().sample(size, device=device, dtype=dtype)


def peers_layer(rows: int, module: Any) -> Step:
    """The same loss of the mean of the samples, which is what PyEPO's layers give."""
    each, weights = inputs(lambda: torch.randn(rows, ITEMS, requires_grad=True)), torch.randn(rows, ITEMS)

    def step() -> None:
        scores = next(each)
        scores.grad = None
        (module(scores) * weights).sum().backward()

    return step


def peers(rows: int, samples: int) -> Mapping[str, Step]:
    """Layers over one numpy solver, ours and PyEPO's, and ours over its own solver."""
    solver = PythonSolver(best_items)
    arrays = inputs(lambda: perturbed_scores(rows, samples).numpy())
    ours: dict[str, tuple[PathwiseGradient, Noise]] = {
        "IMLE": (IMLE(1.0, difference="forward"), Gumbel()),
        "AIMLE": (AIMLE(difference="forward"), Gumbel()),
        "perturbed, Normal": (PerturbedOptimizer("leave-one-out" if samples > 1 else None), Normal()),
    }
    model, gumbel = BestItems(), GumbelOfTorch()
    theirs = {
        "IMLE": implicitMLE(model, samples, lambd=1.0, distribution=gumbel),
        "AIMLE": adaptiveImplicitMLE(model, samples, distribution=gumbel),
        "perturbed, Normal": perturbedOpt(model, samples),
        "IMLE, Sum-of-Gamma": implicitMLE(model, samples, lambd=1.0),
    }
    return {
        "two bare loops": lambda: [best_items(row) for _ in range(2) for row in next(arrays)],
        **{f"{name}, numpy solver": layer(rows, samples, solver, *pair, mean=True) for name, pair in ours.items()},
        **{f"PyEPO {name}": peers_layer(rows, module) for name, module in theirs.items()},
        **{f"{name}, TopK": layer(rows, samples, TopK(CHOSEN), *pair, mean=True) for name, pair in ours.items()},
    }


def spanning_trees(rows: int, vertices: int) -> Mapping[str, Step]:
    """scipy is given matrices of costs, and keeps its sparse answer."""
    scores = inputs(lambda: torch.rand(rows, vertices * (vertices - 1) // 2))
    costs = inputs(lambda: matrix_of(2 - next(scores)).numpy())
    solver = SpanningTree()
    return {
        "scipy loop": lambda: [minimum_spanning_tree(c) for c in next(costs)],
        "SpanningTree": lambda: solver(next(scores)),
    }


class PathsOfScipy:
    """Dijkstra for one grid after the other. The edges are known before; their costs are those of the cell entered."""

    def __init__(self, size: int) -> None:
        steps = [step for step in product((-1, 0, 1), repeat=2) if step != (0, 0)]
        cells = product(range(size), repeat=2)
        heads = [[(i + a, j + b) for a, b in steps if 0 <= i + a < size and 0 <= j + b < size] for i, j in cells]
        self.heads = np.array([i * size + j for each in heads for i, j in each])
        self.starts = np.cumsum([0, *map(len, heads)])

    def __call__(self, costs: NDArray[Any]) -> NDArray[Any]:
        """Indicator of the cells of a cheapest path."""
        graph = csr_matrix((costs.ravel()[self.heads], self.heads, self.starts), shape=(costs.size, costs.size))
        _, before = dijkstra(graph, indices=0, return_predecessors=True)
        z, cell = np.zeros(costs.size, costs.dtype), costs.size - 1
        while cell >= 0:
            z[cell] = 1
            cell = before[cell]
        return z.reshape(costs.shape)


def grid_paths(rows: int, size: int) -> Mapping[str, Step]:
    """Shortest paths over eight neighbours."""
    costs = inputs(lambda: torch.rand(rows, size, size) + 0.1)
    arrays = inputs(lambda: next(costs).double().numpy())
    solver, scipy_path = GridPath(), PathsOfScipy(size)
    for _ in range(INPUTS):
        ours, theirs = next(costs), next(arrays)
        paid = sum(float((scipy_path(grid) * grid).sum()) for grid in theirs)
        if abs(float((solver(ours) * ours).sum()) - paid) > 1e-4 * paid:
            raise RuntimeError("the two sides find paths of different costs")
    return {"scipy loop": lambda: [scipy_path(c) for c in next(arrays)], "GridPath": lambda: solver(next(costs))}


def assignments(rows: int, size: int) -> Mapping[str, Step]:
    """scipy keeps its answer as indices."""
    scores = inputs(lambda: torch.randn(rows, size, size))
    arrays, solver = inputs(lambda: next(scores).double().numpy()), Assignment()
    return {
        "scipy loop": lambda: [linear_sum_assignment(s, maximize=True) for s in next(arrays)],
        "Assignment": lambda: solver(next(scores)),
    }


def noises(rows: int) -> Mapping[str, Step]:
    """What is drawn for one solve."""
    laws: dict[str, Noise] = {
        "Sum-of-Gamma, loop of 10 Gamma draws": SumOfGamma(CHOSEN, method="gamma", terms=10),
        "Sum-of-Gamma": SumOfGamma(CHOSEN),
        "Gumbel": Gumbel(),
        "Normal": Normal(),
    }
    return {name: sampler(noise, rows) for name, noise in laws.items()}


def sampler(noise: Noise, rows: int) -> Step:
    return lambda: noise.sample((rows, ITEMS))


def tables(rows: int) -> Iterator[tuple[str, Callable[[], Mapping[str, Step]]]]:
    """Title of each table, and what makes its steps; the first step is what the others are measured by."""
    problem = f"{rows} x {CHOSEN} of {ITEMS}"
    for samples in (1, 10):
        yield f"layers, forward and backward: {problem}, S = {samples}", partial(layers, rows, samples)
    for samples in (1, 10) if pyepo else ():
        yield f"layers beside PyEPO's: {problem}, S = {samples}", partial(peers, rows, samples)
    for vertices in (10, 20, 30, 50):
        yield f"spanning trees: {rows} graphs of {vertices} vertices", partial(spanning_trees, rows, vertices)
    for count, size in ((70, 12), (30, 30)):
        yield f"shortest paths: {count} grids of {size} x {size}", partial(grid_paths, count, size)
    for size in (5, 20, 50):
        yield f"assignment: {rows} matrices of {size} x {size}", partial(assignments, rows, size)
    yield f"noise: {rows} x {ITEMS} numbers", partial(noises, rows)


def show(title: str, times: Mapping[str, list[float]]) -> None:
    """Medians, quartiles, and ratios to the first line."""
    print(f"\n{title:60}{'CPU ms':>9}  {'(quartiles)':20}{'ratio':>8}")
    floor = statistics.median(next(iter(times.values())))
    for name, each in times.items():
        low, middle, high = statistics.quantiles(each, n=4, method="inclusive")
        print(f"  {name:58}{middle:9.3f}  {f'({low:.3f} to {high:.3f})':20}{middle / floor:8.2f}", flush=True)


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--batch", type=int, default=128, help="instances")
    parser.add_argument("--turns", type=int, default=30, help="alternations between the sides, at least 2")
    parser.add_argument("--only", default="", help="run the tables whose title has this in it")
    arguments = parser.parse_args()
    if arguments.turns < 2:
        parser.error("expected at least 2 turns")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    packages = [f"{name} {version(name)}" for name in ("logprob", "torch", "scipy", *(["pyepo"] if pyepo else []))]
    print(f"{', '.join(packages)}, Python {platform.python_version()}, 1 thread of {processor()}")
    if not pyepo:
        print("pyepo is missing, and so is its table: `make bench` installs it and runs this file")
    for title, steps in tables(arguments.batch):
        if arguments.only in title:
            show(title, take_turns(steps(), arguments.turns, warm_up=2))


if __name__ == "__main__":
    main()
