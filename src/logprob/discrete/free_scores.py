"""Laws of discrete structures whose scores are free parameters: the smallest models there are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from logprob.discrete.k_subset import KSubset
from logprob.discrete.spanning_trees import SpanningTrees
from logprob.distributions import DistributionModule
from logprob.distributions.checks import refuse_context


class FreeSubset(DistributionModule):
    """The law of k of n items, ``p(z)`` proportional to ``exp <z, scores>``, with free scores.

    Args:
        scores: n numbers to start from.
        k: items in a subset.

    Raises:
        ValueError: if k is not between 0 and n.

    Example:
        >>> FreeSubset([0.0, 1.0, -1.0, 0.5], k=2)().sample((3,)).sum(-1)
        tensor([2., 2., 2.])
    """

    def __init__(self, scores: Sequence[float], k: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))
        self.k = k
        KSubset(self.scores.detach(), k)  # says now what is wrong

    def forward(self, context: Tensor | None = None) -> KSubset:
        """The law of the present scores.

        Raises:
            ValueError: if a context is given: there is no place for one.
        """
        refuse_context(self, context)
        return KSubset(self.scores.clone(), self.k)


class FreeTree(DistributionModule):
    """The law of spanning trees, ``p(z)`` proportional to ``exp <z, scores>``, with free scores of the edges.

    Args:
        scores: of the edges (0,1), (0,2), ... of n vertices, n (n - 1) / 2 numbers to start from.

    Example:
        >>> FreeTree([0.0, 1.0, -1.0])().sample((3,)).sum(-1)  # two edges of a triangle
        tensor([2., 2., 2.])
    """

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, context: Tensor | None = None) -> SpanningTrees:
        """The law of the present scores.

        Raises:
            ValueError: if a context is given: there is no place for one.
        """
        refuse_context(self, context)
        return SpanningTrees(self.scores.clone())
