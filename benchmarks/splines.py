"""A training step of spline and affine flows of vectors beside zuko's and beside a RealNVP written by hand.

All sides take turns in one process, so that a busy machine slows them alike. A step is the log-density of a batch,
the backward pass and Adam. Networks have the same hidden widths on all sides; where a coupling's network speaks of
half of the features and an autoregressive one of all, the numbers of parameters differ, and are printed.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import pairwise

import torch
from timing import processor, take_turns
from torch import Tensor, nn

from logprob.flows import NeuralSplineFlow, RealNVP

try:
    import zuko
except ModuleNotFoundError:
    sys.exit("zuko is missing: `make bench` installs it and runs this file")

LEARNING_RATE = 1e-3
LogProb = Callable[[Tensor], Tensor]
RATIOS = (
    ("NSF coupling", "zuko NSF autoregressive"),
    ("NSF coupling", "zuko NSF coupling"),
    ("NSF autoregressive", "zuko NSF autoregressive"),
    ("RealNVP", "zuko RealNVP"),
    ("RealNVP", "RealNVP by hand"),
)


class ByHand(nn.Module):
    """The least code that is a RealNVP: affine couplings of two halves, and nothing that a library is for."""

    def __init__(self, features: int, transforms: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.size = features // 2
        widths = [self.size, *hidden]
        self.networks = nn.ModuleList()
        for _ in range(transforms):
            layers: list[nn.Module] = []
            for before, after in pairwise(widths):
                layers += [nn.Linear(before, after), nn.ReLU()]
            self.networks.append(nn.Sequential(*layers, nn.Linear(widths[-1], 2 * self.size)))
        self.constant = features / 2 * torch.log(torch.tensor(2 * torch.pi)).item()

    def forward(self, x: Tensor) -> Tensor:
        """Log-densities of rows ``(B, D)``."""
        kept, changed = x[:, : self.size], x[:, self.size :]
        total = x.new_zeros(len(x))
        for network in self.networks:
            raw, shift = network(kept).chunk(2, dim=1)
            log_scale = 2 * torch.tanh(raw / 2)
            kept, changed = changed * log_scale.exp() + shift, kept
            total = total + log_scale.sum(1)
        return total - 0.5 * (kept.square().sum(1) + changed.square().sum(1)) - self.constant


def sides(features: int, transforms: int, hidden: tuple[int, ...], bins: int) -> dict[str, tuple[nn.Module, LogProb]]:
    """Modules and their log-densities, by name."""
    ours: dict[str, nn.Module] = {
        "NSF coupling": NeuralSplineFlow(features, transforms, bins, hidden=hidden),
        "NSF autoregressive": NeuralSplineFlow(features, transforms, bins, hidden=hidden, coupling="autoregressive"),
        "RealNVP": RealNVP(features, transforms, hidden),
        "zuko NSF autoregressive": zuko.flows.NSF(features, bins=bins, transforms=transforms, hidden_features=hidden),
        "zuko NSF coupling": zuko.flows.NSF(
            features, bins=bins, transforms=transforms, hidden_features=hidden, passes=2
        ),
        "zuko RealNVP": zuko.flows.RealNVP(features, transforms=transforms, hidden_features=hidden),
    }
    by_hand = ByHand(features, transforms, hidden)
    named = {name: (flow, log_prob_of(flow)) for name, flow in ours.items()}
    return {**named, "RealNVP by hand": (by_hand, by_hand)}


def log_prob_of(flow: nn.Module) -> LogProb:
    """Both libraries make a distribution by a call; it is made anew in each step, as users do."""
    return lambda x: flow().log_prob(x)


def training_step(module: nn.Module, log_prob: LogProb, x: Tensor) -> Callable[[], None]:
    """Log-density, backward pass and Adam."""
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)

    def step() -> None:
        optimizer.zero_grad()
        (-log_prob(x).mean()).backward()
        optimizer.step()

    return step


def spread(values: list[float]) -> str:
    """Median and interquartile range."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:8.2f}  ({low:.2f} to {high:.2f})"


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--features", type=int, default=64, help="number of variables, even")
    parser.add_argument("--batch", type=int, default=256, help="rows of a step")
    parser.add_argument("--transforms", type=int, default=4, help="layers of a flow")
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 128], help="hidden widths of the networks")
    parser.add_argument("--bins", type=int, default=8, help="bins of a spline")
    parser.add_argument("--turns", type=int, default=15, help="alternations between the sides, at least 2")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a turn")
    arguments = parser.parse_args()
    if arguments.features < 2 or arguments.features % 2 or arguments.turns < 2:
        parser.error("expected an even number of features, and at least 2 turns")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(arguments.batch, arguments.features)
    packages = ", ".join(f"{name} {version(name)}" for name in ("logprob", "zuko", "torch"))
    print(f"{packages}, Python {platform.python_version()}, 1 thread of {processor()}")
    print(f"{arguments.features} variables, {arguments.batch} rows, {arguments.transforms} transforms, float32")

    named = sides(arguments.features, arguments.transforms, tuple(arguments.hidden), arguments.bins)
    steps = {name: training_step(module, log_prob, x) for name, (module, log_prob) in named.items()}
    times = take_turns(steps, arguments.turns, arguments.steps, warm_up=2)
    print(f"\n{'one training step':26}{'parameters':>12}{'CPU ms':>10}  (quartiles)")
    for name, (module, _) in named.items():
        size = sum(parameter.numel() for parameter in module.parameters())
        print(f"{name:26}{size:12,}  {spread(times[name])}")
    print(f"\n{'ratio of CPU times':52}  (quartiles)")
    for ours, other in RATIOS:
        ratios = [a / b for a, b in zip(times[ours], times[other], strict=True)]
        print(f"{ours + ' / ' + other:46}{spread(ratios)}")


if __name__ == "__main__":
    main()
