"""Sums over spanning trees, by taking out one vertex after the other.

A matrix of weights holds at ``[i, j]`` that of the edge from i to j; a tree leads away from vertex 0, so that every
other vertex has one edge in. Without its last vertex m the graph has the same sum, but for a factor s, if the way
through m counts as an edge::

    s = sum_i W_im,    W'_ij = W_ij + W_im W_mj / s

(star-mesh transformation of a network; state reduction of a Markov chain). Nothing is subtracted, where a determinant
loses all digits to scores that are far apart. The diagonal is never read.
"""

from __future__ import annotations

from math import ceil, log2

import torch
from torch import Tensor

from logprob.discrete.counts import draw_index


class Elimination:
    """The graphs that are left after each step.

    Args:
        weights: >= 0, shape ``(*batch, n, n)``.
    """

    def __init__(self, weights: Tensor) -> None:
        self.graphs = [weights]  # of n, n - 1, ..., 1 vertices
        for m in range(weights.shape[-1] - 1, 0, -1):
            share, _, out = _last(self.graphs[-1])
            self.graphs.append(self.graphs[-1][..., :m, :m] + share.unsqueeze(-1) * out.unsqueeze(-2))

    @property
    def log_weight(self) -> Tensor:
        """Log of the sum over trees of the product of their weights, of the batch shape."""
        factors = [_last(graph)[1] for graph in self.graphs[:-1]]
        if not factors:
            return self.graphs[0].new_zeros(self.graphs[0].shape[:-2])
        return torch.cat(factors, -1).log().sum(-1)

    def derivative(self) -> Tensor:
        """Derivative of `log_weight` with respect to the weights, ``(*batch, n, n)``.

        It is 0 on the diagonal and into the root. Vertices come back in the opposite order.
        """
        found = torch.zeros_like(self.graphs[-1])
        for graph in reversed(self.graphs[:-1]):
            share, total, out = _last(graph)
            through = (found * out.unsqueeze(-2)).sum(-1)
            into = (1 + through - (share * through).sum(-1, keepdim=True)) / total
            row = (share.unsqueeze(-1) * found).sum(-2)
            found = torch.cat([found, into.unsqueeze(-1)], -1)
            found = torch.cat([found, torch.nn.functional.pad(row, (0, 1)).unsqueeze(-2)], -2)
        return found

    def sample(self, sample_shape: torch.Size) -> Tensor:
        """Parent of every vertex in trees drawn in proportion to their weight, ``(*sample_shape, *batch, n)``.

        An edge of a tree without m is one of the graph with m, or a way through m, in proportion. In the second case
        its end becomes a child of m. The parent of m is drawn among the vertices that the root still reaches. The root
        is its own parent.
        """
        batch = self.graphs[0].shape[:-2]
        parent = torch.zeros(*sample_shape, *batch, 1, dtype=torch.int64, device=self.graphs[0].device)
        for graph in reversed(self.graphs[:-1]):
            graph = graph.expand(*sample_shape, *graph.shape)
            share, _, out = _last(graph)
            m = share.shape[-1]
            direct = graph[..., :m, :m].gather(-2, parent.unsqueeze(-2)).squeeze(-2)
            stays = torch.rand_like(direct) * (direct + share.gather(-1, parent) * out) < direct
            stays = stays | (torch.arange(m, device=parent.device) == 0)
            new = draw_index(graph[..., :m, m] * _reached(parent, stays), -1)
            parent = torch.cat([torch.where(stays, parent, m), new.unsqueeze(-1)], -1)
        return parent


def _last(graph: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the last vertex: shares of the edges in, their sum, and the edges out."""
    into = graph[..., :-1, -1]
    total = into.sum(-1, keepdim=True)
    return into / total, total, graph[..., -1, :-1]


def _reached(parent: Tensor, stays: Tensor) -> Tensor:
    """Which vertices the root reaches by edges that stay."""
    ancestor = torch.where(stays, parent, torch.arange(parent.shape[-1], device=parent.device))
    for _ in range(ceil(log2(parent.shape[-1]))):
        ancestor = ancestor.gather(-1, ancestor)  # twice as far up
    return ancestor == 0
