"""The order of evaluation: all regions of one depth at once, so that a circuit is a few batched operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from logprob.circuits.region_graph import RegionGraph

State = TypeVar("State", bound=tuple[Tensor, ...])


@dataclass(frozen=True)
class Level:
    """The regions at one depth, in the order ``[left children; right children]`` of the depth above.

    Args:
        splits: the regions with children, in the order of the fold axis of this level's weights.
        leaves: number of input regions; they follow those of the levels above in ``Schedule.leaves``.
        order: permutation that takes ``[splits; leaves]`` to the order above; None if there is nothing to do.
    """

    splits: tuple[int, ...]
    leaves: int
    order: tuple[int, ...] | None


@dataclass(frozen=True)
class Schedule:
    """Levels from the roots down, and the input regions in the order in which the levels take them."""

    levels: tuple[Level, ...]
    leaves: tuple[int, ...]


def make_schedule(graph: RegionGraph) -> Schedule:
    """Sort the regions of ``graph`` by depth; the children of a level are then two contiguous halves."""
    levels: list[Level] = []
    leaves: list[int] = []
    here: Sequence[int] = graph.roots
    while here:
        splits = tuple(region for region in here if graph.children[region] is not None)
        ends = tuple(region for region in here if graph.children[region] is None)
        place = {region: position for position, region in enumerate(splits + ends)}
        order = tuple(place[region] for region in here)
        levels.append(Level(splits, len(ends), None if order == tuple(range(len(order))) else order))
        leaves += ends
        pairs = [graph.children[region] for region in splits]
        here = [pair[0] for pair in pairs if pair] + [pair[1] for pair in pairs if pair]
    return Schedule(tuple(levels), tuple(leaves))


def upward(schedule: Schedule, leaves: State, combine: Callable[[int, State, State], State]) -> State:
    """Carry a state from the input regions to the roots.

    A state is a named tuple of tensors whose first axis counts regions: values, log-scales, Gram matrices.
    One traversal serves every algebra.

    Args:
        schedule: the order of evaluation.
        leaves: state of all input regions, in the order of ``schedule.leaves``.
        combine: ``(depth, left, right) -> state`` of the regions that are split at that depth.

    Returns:
        The state of the roots.
    """
    make = type(leaves)
    sizes = [level.leaves for level in schedule.levels]
    # Splits, not slices: the backward pass of a split writes each gradient once.
    ends = [make(*parts) for parts in zip(*(part.split(sizes) for part in leaves), strict=True)]
    below = ends[-1]
    for depth in reversed(range(len(schedule.levels) - 1)):
        level = schedule.levels[depth]
        left, right = zip(*(part.split(len(level.splits)) for part in below), strict=True)
        below = combine(depth, make(*left), make(*right))
        if level.leaves:
            below = make(*(torch.cat(pair) for pair in zip(below, ends[depth], strict=True)))
        if level.order is not None:
            order = torch.tensor(level.order, device=below[0].device)
            below = make(*(part.index_select(0, order) for part in below))
    return below
