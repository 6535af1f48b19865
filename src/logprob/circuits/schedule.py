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
        leaves: where this level's input regions lie among all input regions.
        order: permutation that takes ``[splits; leaves]`` to the order above; None if there is nothing to do.
    """

    splits: tuple[int, ...]
    leaves: slice
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
        levels.append(
            Level(
                splits,
                slice(len(leaves), len(leaves) + len(ends)),
                None if order == tuple(range(len(order))) else order,
            )
        )
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
    below = leaves
    for depth in reversed(range(len(schedule.levels))):
        level = schedule.levels[depth]
        ends = _select(leaves, level.leaves)
        if not level.splits:
            below = ends
            continue
        half = len(level.splits)
        above = combine(depth, _select(below, slice(half)), _select(below, slice(half, 2 * half)))
        if level.leaves.start < level.leaves.stop:
            above = make(*(torch.cat(pair) for pair in zip(above, ends, strict=True)))
        if level.order is not None:
            order = torch.tensor(level.order, device=above[0].device)
            above = make(*(part.index_select(0, order) for part in above))
        below = above
    return below


def _select(state: State, index: slice) -> State:
    return type(state)(*(part[index] for part in state))
