"""Region graphs: how a circuit splits its variables, and the usual ways to split them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Scope = tuple[int, ...]


@dataclass(frozen=True)
class RegionGraph:
    """A forest of regions; each region is a set of variables, split in two or left to the input units.

    Every region but the roots has one parent, the children of a region partition its scope (the circuit is smooth,
    decomposable and, as both factors of a square share the tree, structured-decomposable), and every root covers
    all variables. Several roots are repetitions: independent trees, mixed at the top.

    Args:
        scopes: sorted variables of each region.
        children: the two children of each region, or None where input units start.

    Raises:
        ValueError: naming the region, if a split does not partition its scope, a region has two parents, or a root
            does not cover all variables.

    Example:
        >>> graph = RegionGraph(scopes=((0,), (1,), (0, 1)), children=(None, None, (0, 1)))
        >>> graph.variables, graph.roots, graph.leaves
        (2, (2,), (0, 1))
    """

    scopes: tuple[Scope, ...]
    children: tuple[tuple[int, int] | None, ...]

    def __post_init__(self) -> None:
        if len(self.scopes) != len(self.children) or not self.scopes:
            raise ValueError(
                f"expected one entry of children per scope, got {len(self.children)} for {len(self.scopes)}"
            )
        parents = [0] * len(self.scopes)
        for region, pair in enumerate(self.children):
            for child in pair or ():
                parents[child] += 1
            if pair is not None and tuple(sorted(self.scopes[pair[0]] + self.scopes[pair[1]])) != self.scopes[region]:
                raise ValueError(
                    f"region {region} over {self.scopes[region]} is split into {self.scopes[pair[0]]} and "
                    f"{self.scopes[pair[1]]}, which do not partition it"
                )
        if max(parents) > 1:
            raise ValueError(f"region {parents.index(max(parents))} has {max(parents)} parents; expected at most one")
        everything = tuple(range(max(max(scope) for scope in self.scopes) + 1))
        for root in self.roots:
            if self.scopes[root] != everything:
                raise ValueError(f"root {root} covers {self.scopes[root]}; expected all variables {everything}")

    @cached_property
    def roots(self) -> tuple[int, ...]:
        """Regions without a parent, one per repetition."""
        taken = {child for pair in self.children if pair is not None for child in pair}
        return tuple(region for region in range(len(self.scopes)) if region not in taken)

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """Regions that are not split."""
        return tuple(region for region, pair in enumerate(self.children) if pair is None)

    @property
    def variables(self) -> int:
        """Number of variables."""
        return len(self.scopes[self.roots[0]])


def random_binary_tree(variables: int, depth: int | None = None, repetitions: int = 1, seed: int = 0) -> RegionGraph:
    """Balanced binary trees over random orders of the variables.

    Args:
        variables: number of variables D.
        depth: number of splits from the root down; None splits to single variables.
        repetitions: number of independent trees.
        seed: seed of the random orders.

    Example:
        >>> graph = random_binary_tree(8, depth=2)
        >>> [len(graph.scopes[leaf]) for leaf in graph.leaves]
        [2, 2, 2, 2]
    """
    _check_positive(variables=variables, repetitions=repetitions)
    rng = np.random.default_rng(seed)

    def halve(scope: Scope, level: int) -> tuple[Scope, Scope] | None:
        if len(scope) == 1 or level == depth:
            return None
        return scope[: len(scope) // 2], scope[len(scope) // 2 :]

    orders = [tuple(int(i) for i in rng.permutation(variables)) for _ in range(repetitions)]
    return _grow(orders, halve)


def linear_tree(variables: int, repetitions: int = 1, seed: int | None = None) -> RegionGraph:
    """Chains that split off one variable at a time, as a hidden Markov model does.

    Args:
        variables: number of variables D.
        repetitions: number of independent chains.
        seed: None keeps the given order in the first chain; a seed shuffles that one too. The further chains
            are always shuffled.

    Example:
        >>> linear_tree(3).scopes
        ((0,), (1,), (2,), (1, 2), (0, 1, 2))
    """
    _check_positive(variables=variables, repetitions=repetitions)
    rng = np.random.default_rng(seed or 0)

    def behead(scope: Scope, level: int) -> tuple[Scope, Scope] | None:
        return None if len(scope) == 1 else (scope[:1], scope[1:])

    orders = [tuple(int(i) for i in rng.permutation(variables)) for _ in range(repetitions)]
    if seed is None:
        orders[0] = tuple(range(variables))
    return _grow(orders, behead)


def quad_tree(image_shape: Sequence[int]) -> RegionGraph:
    """Split an image into its upper and lower half, each of those into left and right, down to the pixels.

    Variable ``c * H * W + i * W + j`` is channel ``c`` of pixel ``(i, j)``; the channels of a pixel share a region.

    Args:
        image_shape: ``(channels, height, width)``.

    Example:
        >>> quad_tree((1, 2, 2)).scopes
        ((0,), (1,), (2,), (3,), (0, 1), (2, 3), (0, 1, 2, 3))
    """
    if len(image_shape) != 3:
        raise ValueError(f"image_shape must be (channels, height, width), got {tuple(image_shape)}")
    channels, height, width = image_shape
    _check_positive(channels=channels, height=height, width=width)

    def quarter(scope: Scope, level: int) -> tuple[Scope, Scope] | None:
        rows = sorted({v % (height * width) // width for v in scope})
        columns = sorted({v % width for v in scope})
        by_rows = len(rows) > 1 and (level % 2 == 0 or len(columns) == 1)
        if not by_rows and len(columns) == 1:
            return None
        cut = rows[len(rows) // 2] if by_rows else columns[len(columns) // 2]
        place = (lambda v: v % (height * width) // width) if by_rows else (lambda v: v % width)
        return tuple(v for v in scope if place(v) < cut), tuple(v for v in scope if place(v) >= cut)

    return _grow([tuple(range(channels * height * width))], quarter)


def _grow(orders: Sequence[Scope], split: Callable[[Scope, int], tuple[Scope, Scope] | None]) -> RegionGraph:
    """Split each order from the top down, breadth first, then number the regions from the leaves up."""
    scopes: list[Scope] = []
    children: list[tuple[int, int] | None] = []
    depths: list[int] = []
    for order in orders:
        scopes.append(order)
        children.append(None)
        depths.append(0)
    for region in itertools.count():
        if region == len(scopes):
            break
        parts = split(scopes[region], depths[region])
        if parts is None:
            continue
        first, second = sorted(parts, key=sorted)
        children[region] = (len(scopes), len(scopes) + 1)
        scopes += [first, second]
        children += [None, None]
        depths += [depths[region] + 1] * 2
    return _leaves_first(scopes, children)


def _leaves_first(scopes: list[Scope], children: list[tuple[int, int] | None]) -> RegionGraph:
    ordered = [tuple(sorted(scope)) for scope in scopes]
    rank = sorted(range(len(scopes)), key=lambda r: (children[r] is not None, len(ordered[r]), ordered[r]))
    number = {region: position for position, region in enumerate(rank)}
    pairs = [children[region] for region in rank]
    return RegionGraph(
        scopes=tuple(ordered[region] for region in rank),
        children=tuple(None if pair is None else (number[pair[0]], number[pair[1]]) for pair in pairs),
    )


def _check_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
