"""A training step of a squared circuit beside the same circuit in libcirkit: time, memory and their ratios.

Both sides get the same tree, parameters and rows, and their log-densities are compared before anything is
timed. They then take turns in one process, so that a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from timing import processor
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from logprob.circuits import Circuit, Gaussian, Normal, RegionGraph, random_binary_tree

try:
    import cirkit.symbolic.functional as SF
    from cirkit.pipeline import PipelineContext
    from cirkit.symbolic.circuit import Circuit as SymbolicCircuit
    from cirkit.symbolic.initializers import ConstantTensorInitializer
    from cirkit.symbolic.layers import GaussianLayer
    from cirkit.symbolic.parameters import ExpParameter, Parameter, TensorParameter
    from cirkit.templates.region_graph import PartitionNode, RegionNode
    from cirkit.templates.region_graph import RegionGraph as PeerGraph
    from cirkit.utils.scope import Scope
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is missing: `make bench` installs libcirkit and runs this file")

ALTERNATIONS = 5
WARM_UP = 2
LEARNING_RATE = 1e-3
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-2}
"""On log p. In float32 rows near a zero of c(x) keep few digits in any arithmetic: float64 is the proof."""

Step = Callable[[], Tensor | None]


@dataclass
class Times:
    """Milliseconds of a step, one number for each alternation."""

    cpu: list[float]
    wall: list[float]


class Peer(nn.Module):
    """The circuit of ``model`` in libcirkit, folded and optimised by its own compiler.

    As libcirkit's notebooks train squared circuits: ``log p(x) = 2 Re log c(x) - Re log Z``, where Z is the
    integral of the symbolic circuit times itself; complex logarithms carry the signs of real weights.
    """

    def __init__(self, model: Circuit, graph: RegionGraph) -> None:
        super().__init__()
        symbolic = symbolic_circuit(model, graph)
        context = PipelineContext(backend="torch", semiring="complex-lse-sum", fold=True, optimize=True)
        self.circuit = context.compile(symbolic)
        self.partition = context.compile(SF.integrate(SF.multiply(symbolic, symbolic)))

    def forward(self, x: Tensor) -> Tensor:
        """Log-densities of rows ``x`` ``(B, D)``."""
        log_score: Tensor = 2 * self.circuit(x).real.flatten()
        return log_score - self.partition().real.flatten()


def symbolic_circuit(model: Circuit, graph: RegionGraph) -> SymbolicCircuit:
    """libcirkit's description of ``model``, which starts from the parameters that ``model`` has now."""
    units = model.units
    leaves = [Scope(graph.scopes[region]) for region in model.schedule.leaves]
    loc, log_scale = (dict(zip(leaves, leaf_parameter(model, name), strict=True)) for name in ("loc", "log_scale"))

    def gaussian(scope: Scope, num_units: int) -> GaussianLayer:
        deviation = Parameter.from_unary(ExpParameter((num_units,)), start_from(log_scale[scope]))
        return GaussianLayer(scope, num_units, mean=Parameter.from_input(start_from(loc[scope])), stddev=deviation)

    circuit = peer_graph(graph).build_circuit(
        input_factory=gaussian,
        sum_product="cp-t",
        sum_weight_factory=lambda shape: Parameter.from_input(start_from(torch.zeros(shape))),
        num_input_units=units,
        num_sum_units=units,
    )
    weights = weight_of_scope(model, graph)
    for layer in circuit.sum_layers:
        layer.weight.output.initializer = ConstantTensorInitializer(weights[circuit.layer_scope(layer)].numpy())
    return circuit


def peer_graph(graph: RegionGraph) -> PeerGraph:
    """The same tree as a region graph of libcirkit."""
    regions = [RegionNode(scope) for scope in graph.scopes]
    splits = {region: pair for region, pair in enumerate(graph.children) if pair is not None}
    partitions = {region: PartitionNode(graph.scopes[region]) for region in splits}
    inputs = {regions[region]: [partition] for region, partition in partitions.items()}
    inputs |= {partitions[region]: [regions[child] for child in pair] for region, pair in splits.items()}
    return PeerGraph([*regions, *partitions.values()], inputs, [regions[root] for root in graph.roots])


def start_from(value: Tensor) -> TensorParameter:
    """A learnable parameter of libcirkit with this initial value."""
    return TensorParameter(*value.shape, initializer=ConstantTensorInitializer(value.numpy()))


def leaf_parameter(model: Circuit, name: str) -> Tensor:
    """One parameter of the Gaussian units, ``(leaves, K)``; the scale without its floor of 1e-5."""
    values = dict(model.named_parameters())[f"inputs.groups.0.{name}"].detach()
    return (values.exp() + 1e-5).log() if name == "log_scale" else values


def weight_of_scope(model: Circuit, graph: RegionGraph) -> Mapping[Scope, Tensor]:
    """The sum weights ``(K_out, K)`` of each inner region, by its variables."""
    levels = zip(model.schedule.levels, model.weights, strict=False)  # the deepest level has input regions only
    pairs = (pair for level, weight in levels for pair in zip(level.splits, weight.detach(), strict=True))
    return {Scope(graph.scopes[region]): weight for region, weight in pairs}


def same_circuits(graph: RegionGraph, units: int) -> tuple[Circuit, Peer]:
    """Both sides with the same parameters, in float64 so that copying them rounds nothing away."""
    torch.set_default_dtype(torch.float64)
    model = Circuit(graph, Gaussian(), units=units, init=Normal())
    peer = Peer(model, graph)
    torch.set_default_dtype(torch.float32)
    return model, peer


def largest_difference(model: Circuit, peer: Peer, x: Tensor) -> float:
    """Largest difference of the two log-densities over the rows ``x``."""
    with torch.no_grad():
        difference = (model().log_prob(x) - peer(x)).abs().max().item()
    if not difference <= TOLERANCE[x.dtype]:
        sys.exit(f"not the same circuit: log p differs by {difference:.2g} in {x.dtype}")
    return difference


def training_step(log_prob: Callable[[], Tensor], parameters: Iterable[nn.Parameter]) -> Step:
    """Numerator, partition function, backward pass and Adam; the step returns its loss."""
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = -log_prob().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def matrix_products(model: Circuit, batch: int) -> Step:
    """The matrix products of one step and nothing else, in real numbers, one batched call for each depth.

    A region needs ``h W^T`` for the rows and ``W Z W^T`` for the partition function, three products, and each
    of them takes two more in the backward pass.
    """
    operands = []
    for weight in (w.detach() for w in model.weights):
        folds, out, units = weight.shape
        rows, grad = torch.rand(folds, batch, units), torch.rand(folds, batch, out)
        gram, wide = torch.rand(folds, units, units), torch.rand(folds, out, units)
        square = torch.rand(folds, out, out)
        operands += [(rows, weight.mT), (grad, weight), (grad.mT, rows)]
        operands += [(weight, gram), (wide, gram), (wide.mT, weight)]
        operands += [(wide, weight.mT), (square, weight), (square, wide)]

    def step() -> None:
        for left, right in operands:
            torch.bmm(left, right)

    return step


def take_turns(sides: Mapping[str, Step], steps: int) -> dict[str, Times]:
    """Alternate between the sides; each turn is a few steps of warm-up and ``steps`` timed ones."""
    times = {name: Times([], []) for name in sides}
    for _ in range(ALTERNATIONS):
        for name, step in sides.items():
            for _ in range(WARM_UP):
                step()
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(steps):
                step()
            times[name].cpu.append((time.process_time() - cpu) / steps * 1e3)
            times[name].wall.append((time.perf_counter() - wall) / steps * 1e3)
    return times


class LiveBytes(TorchDispatchMode):
    """Most bytes held at once by tensors made inside this context; scratch memory of a kernel is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation and book the memory that its result does not share with its arguments."""
        result = func(*args, **(kwargs or {}))
        given = storages((args, kwargs))
        for address, storage in storages(result).items():
            if address not in given and address not in self._alive:
                self._alive[address] = storage.nbytes()
                weakref.finalize(storage, self._alive.pop, address)
        self.peak = max(self.peak, sum(self._alive.values()))
        return result


def storages(tree: object) -> dict[int, torch.UntypedStorage]:
    """Memory of all tensors of nested containers, by address."""
    found = (leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return {storage.data_ptr(): storage for storage in found}


def peak_mebibytes(step: Step) -> float:
    """Most memory held at once by tensors that one step makes: not parameters, not the state of Adam."""
    with LiveBytes() as live:
        step()
    return live.peak / 2**20


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Ratio of medians, and the range of the ratios of the single alternations."""
    single = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ours) / statistics.median(theirs):.2f} ({min(single):.2f} to {max(single):.2f})"


def report(times: Mapping[str, Times], peaks: Mapping[str, float]) -> None:
    """Print medians and ratios."""
    print(f"{'one training step':18}{'CPU ms':>10}{'wall ms':>10}{'peak MiB':>10}")
    for name, measured in times.items():
        peak = f"{peaks[name]:.1f}" if name in peaks else "-"
        cpu, wall = statistics.median(measured.cpu), statistics.median(measured.wall)
        print(f"{name:18}{cpu:10.2f}{wall:10.2f}{peak:>10}")
    ours, peer, floor = times.values()
    print(
        f"logprob / libcirkit     CPU {ratio(ours.cpu, peer.cpu)}, wall {ratio(ours.wall, peer.wall)}",
        end=", ",
    )
    print(f"peak memory {peaks['logprob'] / peaks['libcirkit']:.2f}")
    print(f"logprob / GEMMs alone   CPU {ratio(ours.cpu, floor.cpu)}, wall {ratio(ours.wall, floor.wall)}")


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--variables", type=int, default=43, help="number of variables, at least 2")
    parser.add_argument("--units", type=int, default=64, help="units of each region")
    parser.add_argument("--batch", type=int, default=512, help="rows of a step")
    parser.add_argument("--steps", type=int, default=5, help=f"timed steps in each of {ALTERNATIONS} turns")
    arguments = parser.parse_args()
    if arguments.variables < 2 or min(arguments.units, arguments.batch, arguments.steps) < 1:
        parser.error("expected at least 2 variables and positive sizes")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    graph = random_binary_tree(arguments.variables, seed=0)
    model, peer = same_circuits(graph, arguments.units)
    x = torch.randn(arguments.batch, arguments.variables)

    packages = ", ".join(f"{name} {version(name)}" for name in ("logprob", "libcirkit", "torch"))
    print(f"{packages}, Python {platform.python_version()}, 1 thread of {processor()}")
    sizes = [sum(p.numel() for p in side.parameters()) for side in (model, peer)]
    print(f"{arguments.variables} variables, {arguments.units} units, {arguments.batch} rows, float32;", end=" ")
    print(f"{sizes[0]:,} and {sizes[1]:,} parameters")
    double = largest_difference(model, peer, x.double())
    single = largest_difference(model.float(), peer.float(), x)
    print(f"log p of the two agrees to {double:.1g} in float64 and {single:.1g} in float32")

    sides = {
        "logprob": training_step(lambda: model().log_prob(x), model.parameters()),
        "libcirkit": training_step(lambda: peer(x), peer.parameters()),
    }
    times = take_turns({**sides, "GEMMs alone": matrix_products(model, arguments.batch)}, arguments.steps)
    report(times, {name: peak_mebibytes(step) for name, step in sides.items()})
    losses = [step() for step in sides.values()]
    print(f"loss after the same number of steps: {losses[0]:.4f} and {losses[1]:.4f}")


if __name__ == "__main__":
    main()
