"""Sixteen restarts of an estimator in one batch against one: CPU time of training steps, one thread.

5 columns, 20 segments, 10,000 rows, batch 512 (for the contrast also 2,048 rows of noise), two layers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import torch
from timing import Step, processor, ratio, take_turns
from torch import Tensor, nn

from logprob.batch import Batch
from logprob.energy import InvertibleICA, ScaleMixtureFlow
from logprob.estimators import ICEBeeM
from logprob.estimators.label_free_noise import NoiseRows
from logprob.estimators.training import adam, minibatches

COLUMNS, SEGMENTS, ROWS, BATCH, RESTARTS = 5, 20, 10_000, 512, 16
STEPS = 20  # of one measurement


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{processor()}, torch {torch.__version__}, one thread; ms of a step")
    for name, make in MODELS.items():
        many = f"{RESTARTS} restarts"
        turns = take_turns({"one": make(1), many: make(RESTARTS)}, options.rounds)
        each = {key: sorted(times)[len(times) // 2] / STEPS for key, times in turns.items()}
        print(f"{name:24}  one {each['one']:6.2f}   {many} {each[many]:6.2f}   ratio {ratio(turns, many, 'one')}")


def steps(model: nn.Module, losses: Callable[[Tensor], Tensor]) -> Step:
    """Training steps as the estimators take them."""
    optimizer, batches = adam(list(model.parameters()), 1e-3), minibatches(ROWS, BATCH)

    def run() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            losses(next(batches)).sum().backward()
            optimizer.step()

    return run


def likelihood(restarts: int) -> Step:
    x, y = rows()
    model = InvertibleICA(COLUMNS, SEGMENTS, layers=2, copies=restarts)
    return steps(model, lambda index: -model(y[index]).log_prob(x[index]).mean(-1))


def noise(restarts: int) -> Step:
    x, _ = rows()
    model = ScaleMixtureFlow(COLUMNS, layers=2, copies=restarts)
    return steps(model, lambda index: -model().log_prob(x[index]).mean(-1))


def contrast(restarts: int) -> Step:
    x, y = rows()
    estimator, data = ICEBeeM(), Batch(x, y)
    pool = NoiseRows(torch.randn(200_000, COLUMNS), torch.zeros(200_000))
    model = estimator._make(data, SEGMENTS, restarts)
    return steps(
        model, lambda index: estimator._contrast(model, data.rows(index), *estimator._taken(pool, data, len(index)))
    )


def rows() -> tuple[Tensor, Tensor]:
    return torch.randn(ROWS, COLUMNS), torch.randint(SEGMENTS, (ROWS,))


MODELS = {"conditional likelihood": likelihood, "label-free noise": noise, "energy, by contrast": contrast}

if __name__ == "__main__":
    main()
