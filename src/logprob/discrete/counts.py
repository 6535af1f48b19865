"""How many of some independent yes-or-no variables say yes, and which ones, given how many.

The variables are the leaves of a binary tree. A node holds the weights of every count of yes below it: the coefficients
of a polynomial, the product of those of its children. Nothing is ever subtracted and no logarithm is taken, so that all
derivatives are as well behaved as the weights. Dimensions are (count, node, *batch).
"""

from __future__ import annotations

import torch
from torch import Tensor


class CountTree:
    """The tree of counts up to its root, where ``total`` is the only count of interest.

    Node i of a level is the parent of nodes i and i + h of the level below, which has 2 h; nodes that have no partner
    are given one that always says no.

    Args:
        no: weight of "no" of each variable, >= 0, shape ``(n, *batch)``.
        yes: weight of "yes", >= 0, of the same shape.
        total: how many say yes, from 0 to n.
    """

    def __init__(self, no: Tensor, yes: Tensor, total: int) -> None:
        self.variables, self.total = len(no), total
        self.levels = [_paired(torch.stack([no, yes]))]
        while self.levels[-1].shape[1] > 2:
            self.levels.append(_paired(_product(*_halves(self.levels[-1]), most=total)))

    @property
    def weight(self) -> Tensor:
        """Weight of all ways to say yes ``total`` times, of the batch shape."""
        first, second = _halves(self.levels[-1])
        return (first * _others(second, self.total, len(first))).sum((0, 1))

    def weight_of_others(self) -> Tensor:
        """``d weight / d yes``: the weight of all ways for the others, if the variable says yes; ``(n, *batch)``."""
        level = self.levels[-1]
        outside = _others(_partners(level), self.total, len(level))  # of a node's counts, (count, node, *batch)
        for level in reversed(self.levels[:-1]):
            parents = outside[:, : level.shape[1] // 2]
            outside = _correlation(torch.cat([parents, parents], 1), _partners(level), len(level))
        return outside[1, : self.variables]

    def sample(self, sample_shape: torch.Size) -> Tensor:
        """Who says yes, given that ``total`` do: integers ``(n, *sample_shape, *batch)``."""
        batch = self.levels[0].shape[2:]
        counts = self.levels[0].new_full((1, *sample_shape, *batch), self.total, dtype=torch.int64)
        for level in reversed(self.levels):
            first, second = (half.reshape(*half.shape[:2], *[1] * len(sample_shape), *batch) for half in _halves(level))
            counts = _split(counts[: first.shape[1]], first, second)
        return counts[: self.variables]


def draw_index(weights: Tensor, dim: int = 0) -> Tensor:
    """Indices along ``dim`` drawn in proportion to weights >= 0 whose sum is positive; never one of weight 0."""
    cumulative = weights.cumsum(dim)
    total = cumulative.narrow(dim, -1, 1)
    # A little less than one: the product must not be rounded up to the total.
    u = torch.rand_like(total) * (1 - torch.finfo(total.dtype).eps)
    return (cumulative <= u * total).sum(dim)


def _split(counts: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """How the counts of nodes are shared by their children, one level down."""
    mine = torch.arange(len(first), device=counts.device).reshape(-1, *[1] * counts.dim())
    theirs = counts - mine  # (count, node, *sample_shape, *batch)
    possible = (theirs >= 0) & (theirs < len(second))
    second = second.expand(len(second), *counts.shape)
    weights = first * second.gather(0, theirs.clamp(0, len(second) - 1)) * possible
    chosen = draw_index(weights)
    return torch.cat([chosen, counts - chosen])


def _paired(level: Tensor) -> Tensor:
    """An even number of nodes: the last one may be given a partner whose count is 0."""
    if level.shape[1] % 2 == 0:
        return level
    partner = torch.zeros_like(level[:, :1])
    return torch.cat([level, torch.cat([torch.ones_like(partner[:1]), partner[1:]])], 1)


def _halves(level: Tensor) -> tuple[Tensor, Tensor]:
    """First and second children of every node above."""
    first, second = level.chunk(2, 1)
    return first, second


def _partners(level: Tensor) -> Tensor:
    """The other child of the same parent, for every node."""
    return level.roll(level.shape[1] // 2, 1)


def _others(partner: Tensor, total: int, size: int) -> Tensor:
    """What ``partner`` weighs if together the counts are ``total``: ``out[i] = partner[total - i]`` or 0, i < size."""
    least, most = max(0, total - len(partner) + 1), min(total, size - 1)
    found = partner[total - most : total - least + 1].flip(0)
    before, after = (partner.new_zeros(length, *partner.shape[1:]) for length in (least, size - 1 - most))
    return torch.cat([before, found, after])


def _product(a: Tensor, b: Tensor, most: int) -> Tensor:
    """Coefficients of a product of polynomials, ``out[t] = sum_i a[i] b[t - i]`` for t <= most.

    The rows ``a[i] b`` of a table are shifted by i where they are read as rows that are longer by one.
    """
    rows, width = len(a), len(a) + len(b) - 1
    table = a.unsqueeze(1) * b
    table = torch.cat([table, table.new_zeros(rows, rows, *table.shape[2:])], 1)
    shifted = table.flatten(0, 1)[: rows * width].unflatten(0, (rows, width))
    return shifted[:, : max(most, 1) + 1].sum(0)


def _correlation(outside: Tensor, partner: Tensor, size: int) -> Tensor:
    """``out[i] = sum_j outside[i + j] partner[j]`` for i < size, the transpose of `_product`."""
    windows = (outside[i : i + len(partner)] for i in range(size))
    return torch.stack([(window * partner[: len(window)]).sum(0) for window in windows])
