"""Distances by relaxation until nothing changes, and the way back along them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, log2

import torch
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop

from logprob.discrete.solvers.refusal import MOST_STATES
from logprob.distributions import IntractableError

_STEPS_BETWEEN_LOOKS = 16  # on a GPU, where to look is to wait: about as long as the steps that it may save
_STEPS_BETWEEN_GLANCES = 4  # on a CPU, where a look is cheap, but not free

Step = Callable[[Tensor], Tensor]


def relax(step: Step, distance: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Lower the distances until nothing changes.

    Args:
        step: what the distances would be by one more step, from what they are.
        distance: the first distances: inf, but for the starts.
        most: steps after which nothing can change any more.

    Returns:
        The distances, and the number of the step at which each became what it is, 0 for never.
    """
    since = torch.zeros_like(distance)
    if torch.compiler.is_compiling():
        return _relax_in_graph(step, distance, since, most)
    distance = distance.clone()
    every = _STEPS_BETWEEN_GLANCES if distance.device.type == "cpu" else _STEPS_BETWEEN_LOOKS
    stops = not torch._C._functorch.is_functorch_wrapped_tensor(distance)
    for count in range(1, most + 1):
        shorter = step(distance)
        before, distance = distance, torch.minimum(shorter, distance)
        # In place they are 0.0 and 1.0, which a CPU handles several times as fast as booleans.
        better = before.gt_(shorter) if stops else (before > shorter).to(before.dtype)
        if stops and count % every == 0 and not better.any():
            break
        since = torch.maximum(since, better * count)
    return distance, since


def _relax_in_graph(step: Step, distance: Tensor, since: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The same with a loop that a compiler keeps as one node."""

    def go_on(distance: Tensor, since: Tensor, count: Tensor, changed: Tensor) -> Tensor:
        return changed & (count <= most)

    def body(distance: Tensor, since: Tensor, count: Tensor, changed: Tensor) -> tuple[Tensor, ...]:
        shorter = step(distance)
        better = shorter < distance
        since = torch.where(better, count, since)
        return torch.minimum(shorter, distance), since, count + 1, better.any()

    count = torch.ones((), dtype=torch.int32, device=distance.device)
    state = while_loop(go_on, body, (distance.clone(), since, count, count > 0))
    return state[0], state[1]


def trace(parent: Tensor, end: Tensor) -> Tensor:
    """Which nodes lie between the ends and their roots, both included.

    Every round doubles the length of the jumps, so that log2 n rounds reach all n nodes, without a look at the values.

    Args:
        parent: the node before each node, its own for a root, shape ``(B, n)``.
        end: a node of every instance, shape ``(B,)``.

    Returns:
        Zeros and ones, ``(B, n)``.
    """
    n, jump, found = parent.shape[-1], parent, end.unsqueeze(-1)
    for _ in range(ceil(log2(n)) if n > 1 else 0):
        found = torch.cat([found, jump.gather(-1, found)], -1)
        jump = jump.gather(-1, jump)
    return torch.zeros_like(parent).scatter(-1, found, 1)


def simple_paths(after: Mapping[int, Sequence[int]], start: int, goal: int) -> Iterator[list[int]]:
    """All paths from start to goal that meet no node twice, in the order of ``after``.

    Raises:
        IntractableError: when there prove to be too many.
    """
    found, stack = 0, [[start]]
    while stack:
        path = stack.pop()
        if path[-1] == goal:
            found += 1
            if found > MOST_STATES:
                raise IntractableError(f"there are more than {MOST_STATES} paths; estimate from samples instead")
            yield path
        else:
            stack.extend([*path, node] for node in reversed(after[path[-1]]) if node not in path)
