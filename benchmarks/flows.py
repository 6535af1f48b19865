"""A training step of one self-normalizing layer beside its floor, the exact gradient and the relative gradient.

The *floor* is the six matrix products of the method with nothing around them. *Exact* is the same layer with
the log-determinant by ``torch.linalg.slogdet`` and autograd. A step is forward and backward with the
reconstruction energy, no optimizer and no synchronisation; what that costs is printed beside it.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Sequence

import torch
from timing import Step, Turns, ratio, take_turns
from torch import Tensor
from torch.nn import functional as F

from logprob.flows import FlowLayer, SelfNormalizingConv2d, SelfNormalizingLinear, SurrogateOptions

BATCH = 100
DEFAULT = SurrogateOptions()
PUBLISHED = SurrogateOptions(penalty="both")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, nargs="+", default=[64, 256, 512, 784, 1024, 2048])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--skip-images", action="store_true", help="only the linear layers")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, 1 thread, float32, batch {BATCH}, {options.rounds} rounds, ms of CPU time")
    medians = {features: linear(features, options.rounds) for features in options.features}
    slopes({d: m for d, m in medians.items() if d in (512, 1024, 2048)})
    if not options.skip_images:
        for shape in ((1, 28, 28), (4, 14, 14), (16, 7, 7), (12, 16, 16)):
            convolution(shape, options.rounds)


def linear(features: int, rounds: int) -> dict[str, float]:
    """Time the linear layers of one size; medians in milliseconds."""
    x = torch.randn(BATCH, features)
    gradient = torch.randn(BATCH, features) / BATCH
    learned = SelfNormalizingLinear(features, init="identity-noise")
    resync, exact, relative = (
        SelfNormalizingLinear(features, log_det, init="identity-noise") for log_det in ("resync", "exact", "relative")
    )
    steps: dict[str, Step] = {
        "floor": lambda: six_products(x, gradient, learned.weight.data, learned.inverse_weight),
        "self-normalizing": step(learned, x, gradient),
        "as published": step(learned, x, gradient, PUBLISHED),
        "resync": step(resync, x, gradient),
        "relative": step(relative, x, gradient),
        "exact": step(exact, x, gradient),
    }
    turns = take_turns(steps, rounds, repeats=max(1, 1000 // features))
    synchronisation = statistics.median(take_turns({"it": learned.synchronize}, 3)["it"])
    report(f"linear, D = {features}", turns)
    for name in ("self-normalizing", "as published"):
        print(f"  {name}: {ratio(turns, name, 'floor')} of the floor; exact is {ratio(turns, 'exact', name)} times it")
    print(f"  a synchronisation costs {synchronisation:.1f} ms, so every 20 steps {synchronisation / 20:.2f} ms a step")
    return {name: statistics.median(values) for name, values in turns.items()}


def convolution(shape: tuple[int, int, int], rounds: int) -> None:
    """Time 3x3 convolutions of one image shape, and exact log-determinants."""
    x = torch.randn(BATCH, *shape)
    gradient = torch.randn_like(x) / BATCH
    learned = SelfNormalizingConv2d(shape[0], 3, image_size=shape[1:])
    exact = SelfNormalizingConv2d(shape[0], 3, image_size=shape[1:], log_det="exact")
    double = SelfNormalizingConv2d(shape[0], 3, image_size=shape[1:], log_det="exact").double()
    probe = x[:1].double()
    steps: dict[str, Step] = {
        "plain conv2d": plain_convolution(learned, x, gradient),
        "self-normalizing": step(learned, x, gradient),
        "as published": step(learned, x, gradient, PUBLISHED),
        "exact": step(exact, x, gradient),
        "log-det value": lambda: log_det_value(double, probe),
    }
    turns = take_turns(steps, rounds)
    if math.prod(shape) <= 3072:
        turns |= take_turns({"dense exact": dense_step(exact, x, gradient)}, 1, warm_up=0)
    report(f"3x3 convolution, {shape[0]} x {shape[1]} x {shape[2]}", turns)
    print(f"  as published: {ratio(turns, 'as published', 'plain conv2d')} of plain conv2d")
    dense = turns["dense exact"][0]
    print(f"  dense exact / as published: {dense / statistics.median(turns['as published']):.0f}")


def step(layer: FlowLayer, x: Tensor, gradient: Tensor, options: SurrogateOptions = DEFAULT) -> Callable[[], None]:
    """Forward and backward of one layer, as a flow would do it in the middle of a network."""

    def run() -> None:
        layer.zero_grad(set_to_none=True)
        z, ladj, energies = layer.surrogate(x.detach().requires_grad_(), None, options)
        loss = (z * gradient).sum() - ladj.mean()
        for energy in energies:
            loss = loss + energy.value
        loss.backward()

    return run


@torch.no_grad()
def six_products(x: Tensor, gradient: Tensor, weight: Tensor, inverse: Tensor | None) -> None:
    """The matrix products of the method, alone."""
    assert inverse is not None
    z = x @ weight.T
    x_hat = z @ inverse.T
    gx = gradient @ weight
    outer = x_hat @ inverse
    outer.T @ x
    gx.T @ z


def plain_convolution(layer: SelfNormalizingConv2d, x: Tensor, gradient: Tensor) -> Callable[[], None]:
    """Forward and backward of ``conv2d`` with the same kernel, without any log-determinant."""

    def run() -> None:
        layer.zero_grad(set_to_none=True)
        (F.conv2d(x.detach().requires_grad_(), layer.weight, layer.bias, padding=1) * gradient).sum().backward()

    return run


def dense_step(layer: SelfNormalizingConv2d, x: Tensor, gradient: Tensor) -> Callable[[], None]:
    """The exact gradient through the dense matrix of the convolution, built from unit vectors."""
    size = x[0].numel()

    def run() -> None:
        layer.zero_grad(set_to_none=True)
        units = torch.eye(size).reshape(size, *x.shape[1:])
        matrix = F.conv2d(units, layer.weight, padding=1).reshape(size, size)
        z = F.conv2d(x.detach().requires_grad_(), layer.weight, layer.bias, padding=1)
        ((z * gradient).sum() - torch.linalg.slogdet(matrix)[1]).backward()

    return run


@torch.no_grad()
def log_det_value(layer: SelfNormalizingConv2d, probe: Tensor) -> Tensor:
    """The exact log-determinant alone, but for the convolution of one image."""
    ladj: Tensor = layer(probe)[1]
    return ladj


def slopes(medians: dict[int, dict[str, float]]) -> None:
    """Least-squares slope of log time over log D."""
    if len(medians) < 2:
        return
    sizes = torch.tensor([math.log(size) for size in medians])
    for name in ("floor", "self-normalizing", "as published", "relative", "exact"):
        times = torch.tensor([math.log(median[name]) for median in medians.values()])
        centred = sizes - sizes.mean()
        slope = (centred * times).sum() / (centred * centred).sum()
        print(f"time grows as D^{slope.item():.2f} over D = {', '.join(map(str, medians))}: {name}")


def report(title: str, turns: Turns) -> None:
    """Medians of all sides in one line."""
    print(f"\n{title}\n  " + ", ".join(f"{name} {statistics.median(times):.2f}" for name, times in turns.items()))


if __name__ == "__main__":
    main()
