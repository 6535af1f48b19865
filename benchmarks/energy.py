"""Training steps of identifiable energies, each beside the way that is usual; sections by name.

``fce``: a step of the energy in flow-contrastive estimation, 128 rows of data and 128 of noise, with the network of the
published simulations and a flow of ten autoregressive splines. Sampling is left out on all sides. *Ours* looks the
log-densities of data and noise up, as the flow rests. *Naive* has the gradient pass through the resting flow at every
step; the flow is this library's, or one as it is usually written: a network for each variable, splines by a chain of
tensor operations.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timing import Step, processor, ratio, take_turns
from torch import Tensor, nn

from logprob.batch import Batch
from logprob.energy import ConditionalEnergy, ContrastivePair
from logprob.flows import NeuralSplineFlow
from logprob.nn import BatchNormMLP
from logprob.objectives import NoiseContrastive

ROWS, BATCH, FEATURES, CONDITIONS = 10_000, 128, 5, 20
BLOCKS, BINS, BOUND, HIDDEN = 10, 8, 3.0, 16


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, 1 thread, {processor()}, {options.rounds} rounds, ms of CPU time")
    for name in options.sections:
        SECTIONS[name](options.rounds)


def contrast(rounds: int) -> None:
    """The step of the energy."""
    rows = Batch(torch.randn(ROWS, FEATURES), torch.randint(CONDITIONS, (ROWS,)))
    network = BatchNormMLP(FEATURES, FEATURES, 32, 3)
    energy = ConditionalEnergy(network, CONDITIONS, FEATURES, squares="tied", log_norm="per-condition")
    flow = NeuralSplineFlow(FEATURES, BLOCKS, BINS, BOUND, (HIDDEN,) * 3, "autoregressive")
    usual = UsualFlow()
    samples = flow().sample((ROWS,))
    pair = ContrastivePair(energy, flow)
    objective = NoiseContrastive(pool=ROWS)
    prepared = objective.prepare(pair, rows)
    optimizer = torch.optim.Adam(energy.parameters(), lr=3e-4, fused=True)

    def ours() -> None:
        optimizer.zero_grad()
        objective(pair, prepared.rows(torch.randint(ROWS, (BATCH,)))).value.backward()
        optimizer.step()

    def naive(log_prob: Callable[[Tensor], Tensor]) -> Step:
        plain = torch.optim.Adam(energy.parameters(), lr=3e-4)

        def run() -> None:
            index = torch.randint(ROWS, (2, BATCH))
            plain.zero_grad()
            loss = minibatch_loss(energy, log_prob, rows, samples, index)
            loss.backward()
            plain.step()

        return run

    steps = {"naive": naive(lambda x: flow().log_prob(x)), "naive, usual flow": naive(usual)}
    turns = take_turns({"ours": ours, **steps}, rounds, repeats=15, warm_up=5)
    print("\nenergy step of flow-contrastive estimation, 128 + 128 rows, 10 spline blocks")
    print("  " + ", ".join(f"{name} {statistics.median(times):.2f}" for name, times in turns.items()))
    for name in steps:
        print(f"  {name} / ours: {ratio(turns, name, 'ours')}")


def minibatch_loss(
    energy: Any, log_prob: Callable[[Tensor], Tensor], rows: Batch, samples: Tensor, index: Tensor
) -> Tensor:
    """Cross-entropy whose graph holds the flow."""
    assert rows.context is not None
    x = torch.cat([rows.x[index[0]], samples[index[1]]])
    labels = torch.cat([rows.context[index[0]], rows.context[index[1]]])
    logits = energy(labels).unnormalized_log_prob(x) - log_prob(x)
    is_data = torch.cat([torch.ones(BATCH), torch.zeros(BATCH)])
    return F.binary_cross_entropy_with_logits(logits, is_data)


class UsualFlow(nn.Module):
    """Ten autoregressive splines with a network for each variable, and a linear map before each."""

    def __init__(self) -> None:
        super().__init__()
        outputs = 3 * BINS - 1
        self.first = nn.ParameterList([nn.Parameter(torch.rand(outputs) - 0.5) for _ in range(BLOCKS)])
        self.mixing = nn.ParameterList(
            [nn.Parameter(nn.init.orthogonal_(torch.empty(FEATURES, FEATURES))) for _ in range(BLOCKS)]
        )
        self.networks = nn.ModuleList(
            [nn.ModuleList([self._network(i, outputs) for i in range(1, FEATURES)]) for _ in range(BLOCKS)]
        )

    @staticmethod
    def _network(inputs: int, outputs: int) -> nn.Module:
        layers: list[nn.Module] = [nn.Linear(inputs, HIDDEN), nn.LeakyReLU(0.2)]
        for _ in range(2):
            layers += [nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers, nn.Linear(HIDDEN, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Log-densities of rows ``(B, D)``."""
        total = x.new_zeros(len(x))
        for first, mixing, networks in zip(self.first, self.mixing, self.networks, strict=True):
            x = x @ mixing
            total = total + torch.linalg.slogdet(mixing)[1]
            assert isinstance(networks, nn.ModuleList)
            columns = [spline(x[:, 0], first.expand(len(x), -1))]
            columns += [spline(x[:, i], network(x[:, :i])) for i, network in enumerate(networks, 1)]
            values, slopes = zip(*columns, strict=True)
            x, total = torch.stack(values, 1), total + torch.stack(slopes, 1).sum(1)
        prior: Tensor = (F.logsigmoid(x) + F.logsigmoid(-x)).sum(1)  # logistic
        return total + prior


def spline(x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """A rational-quadratic spline and its log-derivative, by the formulas one after the other."""
    widths, heights, slopes = parameters.split([BINS, BINS, BINS - 1], -1)
    knots, steps = zip(*(_knots(part) for part in (widths, heights)), strict=True)
    slopes = F.pad(1e-3 + F.softplus(slopes), (1, 1), value=1.0)
    inside = (x > -BOUND) & (x < BOUND)
    clamped = x.clamp(-BOUND, BOUND)
    index = (torch.searchsorted(knots[0].contiguous(), clamped.unsqueeze(-1)) - 1).clamp(0, BINS - 1)
    left, bottom, width, height, start = (
        table.gather(-1, index).squeeze(-1) for table in (knots[0], knots[1], steps[0], steps[1], slopes)
    )
    end = slopes.gather(-1, index + 1).squeeze(-1)
    t, slope = (clamped - left) / width, height / width
    product = t * (1 - t)
    below = slope + (start + end - 2 * slope) * product
    value = bottom + height * (slope * t.square() + start * product) / below
    above = slope.square() * (end * t.square() + 2 * slope * product + start * (1 - t).square())
    return torch.where(inside, value, x), torch.where(inside, above.log() - 2 * below.log(), torch.zeros_like(x))


def _knots(raw: Tensor) -> tuple[Tensor, Tensor]:
    shares = 1e-3 + (1 - 1e-3 * BINS) * raw.softmax(-1)
    knots = F.pad(2 * BOUND * shares.cumsum(-1), (1, 0)) - BOUND
    return knots, knots.diff(dim=-1)


SECTIONS: dict[str, Callable[[int], None]] = {"fce": contrast}


if __name__ == "__main__":
    main()
