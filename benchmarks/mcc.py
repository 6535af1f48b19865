"""Seconds and memory of the mean correlation coefficient, and of the thin RDC beside the full one.

Prints a Markdown table: process CPU seconds, the median of a few calls, on one thread, and the peak of memory above
what the process held before, as the system counts it; each row in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from timing import processor, ratio, take_turns
from torch import Tensor

from logprob.metrics import mcc, rdc, representation_pairs
from logprob.metrics.randomized_dependence import sine_weights

Task = Callable[[], object]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def many(method: str) -> Task:
    s, z = normal(100_000, 50), normal(100_000, 50, seed=1)
    return lambda: mcc(s, z, method=method)  # type: ignore[arg-type]


def one_rdc() -> Task:
    u, v = normal(40_000), normal(40_000, seed=1)
    return lambda: rdc(u, v, generator=0)


def with_null(method: str, null: str) -> Task:
    s, z, labels = normal(10_000, 5), normal(10_000, 5, seed=1), torch.arange(10_000) % 20
    return lambda: mcc(s, z, method=method, null=null, groups=labels, generator=0)  # type: ignore[arg-type]


def with_interval() -> Task:
    s, z = normal(10_000, 5), normal(10_000, 5, seed=1)
    return lambda: mcc(s, z, interval="bootstrap", generator=0)


def seeds() -> Task:
    features = [normal(10_000, 90, seed=seed) for seed in range(5)]
    return lambda: representation_pairs(features)


TASKS: dict[str, Callable[[], Task]] = {
    "Pearson, N 100,000, d 50": lambda: many("pearson"),
    "Spearman, N 100,000, d 50": lambda: many("spearman"),
    "RDC, one pair, N 40,000": one_rdc,
    "MCC by RDC, N 10,000, d 5, null of 200": lambda: with_null("rdc", "rows"),
    "MCC, N 10,000, d 5, null of 200": lambda: with_null("pearson", "rows"),
    "MCC, N 10,000, d 5, null of 200 in 20 groups": lambda: with_null("pearson", "within"),
    "MCC, N 10,000, d 5, 1,000 bootstrap draws": with_interval,
    "strong and weak MCC, 10 pairs, N 10,000, d 90": seeds,
}


def full_rdc(u: Tensor, v: Tensor, weights: Tensor) -> float:
    """The same number by complete orthogonal matrices ``(N, N)``, as the definition is often programmed."""
    bases = []
    for x, w in zip((u.numpy(), v.numpy()), weights.numpy(), strict=True):
        ranks = np.argsort(np.argsort(x)) + 1.0
        sines = np.sin(np.stack([ranks / len(x), np.ones(len(x))], 1) @ w)
        sines = np.concatenate([sines, np.ones((len(x), 1))], 1)
        sines -= sines.mean(0)
        bases.append((np.linalg.qr(sines, mode="complete")[0], np.linalg.matrix_rank(sines)))
    (qx, rx), (qy, ry) = bases
    return float(np.linalg.svd((qx.T @ qy)[:rx, :ry], compute_uv=False)[0])


def thin_beside_full(rows: int = 2000, columns: int = 5) -> None:
    """Every pair of five columns with five: all at once in thin form, one pair in full form."""
    s, z = normal(rows, columns), normal(rows, columns, seed=1)
    weights = sine_weights(2, rows, torch.Generator().manual_seed(0))
    pair = (weights[0], weights[1])
    difference = abs(rdc(s[:, 0], z[:, 0], weights=pair) - full_rdc(s[:, 0], z[:, 0], weights))
    steps: dict[str, Task] = {
        "full, one pair": lambda: full_rdc(s[:, 0], z[:, 0], weights),
        "thin, one pair": lambda: rdc(s[:, 0], z[:, 0], weights=pair),
        "thin, 25 pairs": lambda: mcc(s, z, method="rdc", generator=0),
    }
    turns = take_turns(steps, rounds=5)
    print(f"\nRDC at N {rows:,}; the two forms differ by {difference:.0e}; CPU milliseconds, medians of 5 turns\n")
    for name, milliseconds in turns.items():
        print(f"- {name}: {statistics.median(milliseconds):.2f}")
    turns["thin, of 25 pairs"] = [milliseconds / columns**2 for milliseconds in turns["thin, 25 pairs"]]
    print(f"- full / thin, one pair: {ratio(turns, 'full, one pair', 'thin, one pair')}")
    print(f"- full / thin, each of 25 pairs: {ratio(turns, 'full, one pair', 'thin, of 25 pairs')}")


def measure(name: str, calls: int) -> str:
    """CPU and wall seconds and the peak of memory of one task, in this process."""
    task = TASKS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    task()
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    cpu, wall = [], []
    for _ in range(calls):
        started = time.process_time(), time.perf_counter()
        task()
        cpu.append(time.process_time() - started[0])
        wall.append(time.perf_counter() - started[1])
    return f"| {name} | {statistics.median(cpu):.3f} | {statistics.median(wall):.3f} | {peak:.0f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--task", choices=TASKS, help="only this one, and only its row")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.task:
        print(measure(options.task, options.calls), flush=True)
        return
    print(f"{processor()}, torch {torch.__version__}, one thread\n")
    print("| | CPU s | wall s | MiB |\n|---|---|---|---|", flush=True)
    for name in TASKS:
        subprocess.run([sys.executable, __file__, "--task", name, "--calls", str(options.calls)], check=True)
    thin_beside_full()


if __name__ == "__main__":
    main()
