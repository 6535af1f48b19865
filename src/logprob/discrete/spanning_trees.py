"""The exact law of spanning trees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions.utils import lazy_property

from logprob.discrete.arborescences import Arborescences
from logprob.discrete.solvers.spanning_tree import SpanningTree, edges_of, matrix_of, vertices
from logprob.discrete.structured_law import StructuredLaw


class SpanningTrees(StructuredLaw):
    """Spanning trees of a complete graph: ``p(z) = exp(<z, scores> - A)`` for edge sets z that are trees.

    Edges are in the order (0, 1), (0, 2), ..., (n - 2, n - 1); one of score -inf does not exist. The sum over trees is
    that of Kirchhoff's matrix-tree theorem, and a marginal is a weight times an effective resistance. Both are computed
    in float64 without a determinant, by taking out one vertex after the other; so is a sample, see
    :mod:`logprob.discrete.elimination`. Edges that every tree needs must not have a score more than about 700 below
    the best ones.

    Args:
        scores: shape ``(*batch, n (n - 1) / 2)``.

    Raises:
        ValueError: if the number of edges is none of a complete graph, and, when the law is first used, if there is no
            tree or a score is NaN or +inf. Where an error would need the host (compiled code, ``torch.func``, a GPU)
            results are NaN instead.

    References:
        Kirchhoff, *Ueber die Auflösung der Gleichungen ...*, Annalen der Physik 1847; Lyons and Peres, *Probability on
        Trees and Networks*, 2016, chapter 4.

    Example:
        >>> import torch
        >>> q = SpanningTrees(torch.zeros(3))  # of a triangle, any two edges
        >>> q.marginals
        tensor([0.6667, 0.6667, 0.6667])
        >>> q.sample((4,)).sum(-1)
        tensor([2., 2., 2., 2.])
    """

    def __init__(self, scores: Tensor) -> None:
        super().__init__(scores, 1)
        self.vertices = vertices(self.event_shape[0])

    @property
    def solver(self) -> SpanningTree:
        """The heaviest tree."""
        return SpanningTree()

    def with_scores(self, scores: Tensor) -> SpanningTrees:
        """Trees at other scores."""
        return SpanningTrees(scores)

    def contains(self, value: Tensor) -> Tensor:
        """Whether all entries are 0 or 1, n - 1 are 1, and the Laplacian says one tree, the only one of n - 1 edges."""
        binary = ((value == 0) | (value == 1)).all(-1)
        adjacency = matrix_of(value.double())
        laplacian = torch.diag_embed(adjacency.sum(-1)) - adjacency
        trees = torch.linalg.det(laplacian[..., 1:, 1:])
        return binary & (value.sum(-1) == self.vertices - 1) & (trees > 0.5)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Exact samples, vertex by vertex; no gradient."""
        return _undirected(self._from_first.sample(sample_shape))

    @lazy_property
    def _from_first(self) -> Arborescences:
        """Every tree is one of directed edges away from vertex 0, of the same weight."""
        return Arborescences(matrix_of(self.scores))

    @lazy_property
    def _wide_log_partition(self) -> Tensor:
        return self._from_first._wide_log_partition

    @lazy_property
    def _wide_marginals(self) -> Tensor:
        return _undirected(self._from_first._wide_marginals)


def _undirected(directed: Tensor) -> Tensor:
    """Edges in either direction, ``(*batch, n, n)`` to ``(*batch, E)``."""
    return 2 * edges_of(directed)
