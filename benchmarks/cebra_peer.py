"""CEBRA beside estimators of this library: the same rows, one process, quality and seconds.

CEBRA gets the segments as discrete labels. Scores are mean correlation coefficients (Pearson) of the features of the
rows that were fitted with s, |s| and s^2. Seconds are CPU time of `fit`. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from timing import processor

from logprob.data import ica
from logprob.data.ica import NonlinearICA
from logprob.estimators import TCL, ConditionalFlowICA, FastICA
from logprob.metrics import mcc
from logprob.metrics.mean_correlation import Target

try:
    import cebra
except ModuleNotFoundError:
    cebra = None

Estimators = dict[str, Callable[[], Any]]
TARGETS: tuple[Target, ...] = ("identity", "abs", "square")


def peer(iterations: int, seed: int) -> Any:
    """CEBRA as its guide has it for labels, with as many outputs as there are sources."""
    torch.manual_seed(seed)  # it has no seed of its own
    return cebra.CEBRA(
        model_architecture="offset1-model",
        output_dimension=5,
        max_iterations=iterations,
        batch_size=512,
        device="cpu",
        verbose=False,
    )


def estimators(kind: str, layers: int, iterations: int, seed: int) -> Estimators:
    """What is compared; every one with its own defaults, and told the number of layers if it asks."""
    base: Any = "diagonal" if kind == "tcl" else "full"
    found: Estimators = {
        "FastICA": lambda: FastICA(random_state=seed),
        "ConditionalFlowICA": lambda: ConditionalFlowICA(layers=layers, base=base, random_state=seed),
        "TCL": lambda: TCL(layers=layers, random_state=seed),
    }
    return found | ({} if cebra is None else {"CEBRA": lambda: peer(iterations, seed)})


def line(name: str, make: Callable[[], Any], rows: NonlinearICA) -> str:
    """Fit, transform and score one."""
    x, y, sources = (np.asarray(part) for part in (rows.x, rows.y, rows.sources))
    started = time.process_time()
    model = make().fit(x, y)
    seconds = time.process_time() - started
    features = model.transform(x)
    scores = "  ".join(f"{mcc(sources, features, target=target).score:.3f}" for target in TARGETS)
    return f"{name:20s} {scores}  {seconds:7.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=3000, help="of CEBRA")
    parser.add_argument("--rows", type=int, default=500, help="of each segment")
    parser.add_argument("--seed", type=int, default=0, help="of the models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    version = "is not installed" if cebra is None else cebra.__version__
    print(f"{processor()}, torch {torch.__version__}, 1 thread; CEBRA {version}")
    for kind, make_rows in (("tcl", ica.tcl), ("imca", ica.imca)):
        for layers in (2, 4):
            rows = make_rows(n_per_segment=arguments.rows, layers=layers)
            print(f"\n{kind}, {layers} layers         s    |s|    s^2")
            for name, make in estimators(kind, layers, arguments.iterations, arguments.seed).items():
                print(line(name, make, rows), flush=True)


if __name__ == "__main__":
    main()
