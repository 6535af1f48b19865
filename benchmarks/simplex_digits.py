"""Discrete VAEs on 8x8 digits: IGR-I and the Gumbel-Softmax, each with its divergences, beside independent pixels.

scikit-learn's digits, pixels of at least 8 of 16 are 1; the first 1,500 images train, the last 297 test. 6 variables
of 8 categories, networks with two hidden layers of 64, batch 100 drawn with replacement, Adam at 3e-3, 3,000 steps,
relaxed samples to the decoder. The number is the negative log-likelihood bound of the *discrete* model with 200
samples, in nats: lower is better. All settings that are run are printed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from logprob.data import BinaryImages, OrderedDigits
from logprob.distributions import Latent, LatentVariableModel
from logprob.gradients import StraightThrough
from logprob.metrics import DiscreteBound
from logprob.nn import MLP
from logprob.objectives import Batch, NegativeELBO
from logprob.simplex import ConcreteLatent, InvertibleGaussianLatent, PlanarLatent, StickBreakingLatent

Setting = tuple[Callable[[], Latent], Callable[[], NegativeELBO]]
SETTINGS: dict[str, Setting] = {
    "IGR-I 0.25, closed": (lambda: InvertibleGaussianLatent(6, 8, 0.25), lambda: NegativeELBO("closed")),
    "IGR-I 0.25, sampled": (lambda: InvertibleGaussianLatent(6, 8, 0.25), lambda: NegativeELBO("sampled")),
    "IGR-I 0.25, categorical": (lambda: InvertibleGaussianLatent(6, 8, 0.25), lambda: NegativeELBO("categorical")),
    "IGR-SB 0.25, closed": (lambda: StickBreakingLatent(6, 8, 0.25), lambda: NegativeELBO("closed")),
    "IGR-Planar 0.25, sampled": (lambda: PlanarLatent(6, 8, 0.25), lambda: NegativeELBO("sampled")),
    "GS 0.5, sampled": (lambda: ConcreteLatent(6, 8, 0.5), lambda: NegativeELBO("sampled")),
    "GS 0.5, categorical": (lambda: ConcreteLatent(6, 8, 0.5), lambda: NegativeELBO("categorical")),
    "straight-through": (lambda: ConcreteLatent(6, 8, 0.5), lambda: NegativeELBO("categorical", StraightThrough())),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = BinaryImages(OrderedDigits()).load()
    print(f"independent pixels: {independent(data.train.x, data.test.x):.2f}")
    for name in options.settings:
        values = [trained(name, seed, options.steps, data.train.x, data.test) for seed in options.seeds]
        each = " ".join(f"{value:6.2f}" for value in values)
        print(f"{name:26} {each}   mean {statistics.mean(values):.2f}", flush=True)


def independent(train: Tensor, test: Tensor) -> float:
    """Negative log-likelihood of independent Bernoulli pixels with their frequencies, one count added either way."""
    probs = (train.double().sum(0) + 1) / (len(train) + 2)
    law = torch.distributions.Independent(torch.distributions.Bernoulli(probs), 1)
    return -law.log_prob(test.double()).mean().item()


def trained(name: str, seed: int, steps: int, train: Tensor, test: Batch) -> float:
    """Train one model; the negative of its bound on the test rows."""
    torch.manual_seed(seed)
    make_latent, make_objective = SETTINGS[name]
    latent, objective = make_latent(), make_objective()
    model = LatentVariableModel(train.shape[1], latent, two_layers, two_layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(model, Batch(train[torch.randint(len(train), (100,))])).value.backward()
        optimizer.step()
    return -DiscreteBound(samples=200)(model, test)["discrete_bound"]


def two_layers(inputs: int, outputs: int) -> MLP:
    """An MLP of the protocol."""
    return MLP(inputs, outputs, hidden=(64, 64))


if __name__ == "__main__":
    main()
