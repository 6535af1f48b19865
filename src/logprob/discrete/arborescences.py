"""The exact law of directed spanning trees."""

from __future__ import annotations

from math import ceil, log2
from typing import Any

import torch
from torch import Tensor
from torch.distributions.utils import lazy_property

from logprob.discrete.elimination import Elimination
from logprob.discrete.solvers.arborescence import Arborescence
from logprob.discrete.solvers.refusal import refuse
from logprob.discrete.structured_law import StructuredLaw


class Arborescences(StructuredLaw):
    """Spanning trees of directed edges away from a root: ``p(z) = exp(<z, scores> - A)``.

    ``z[i, j]`` is 1 for an edge from i to j; every vertex but the root has one edge in. The diagonal and the edges into
    the root are not used. A score of -inf is no edge. The sum over trees is that of Tutte's matrix-tree theorem, but
    computed in float64 without a determinant, by taking out one vertex after the other; so is a sample, see
    :mod:`logprob.discrete.elimination`. Edges that every tree needs must not have a score more than about 700 below
    the best one to the same vertex.

    Args:
        scores: shape ``(*batch, n, n)``.
        root: the vertex without an edge in.

    Raises:
        ValueError: if the scores are not square matrices with such a row, and, when the law is first used, if there is
            no tree or a score is NaN or +inf. Where an error would need the host (compiled code, ``torch.func``, a GPU)
            results are NaN instead.

    References:
        Tutte, *The dissection of equilateral triangles into equilateral triangles*, Math. Proc. Cambridge 1948; Koo,
        Globerson, Carreras and Collins, *Structured Prediction Models via the Matrix-Tree Theorem*, EMNLP 2007.

    Example:
        >>> import torch
        >>> q = Arborescences(torch.zeros(3, 3))  # 0 1 2, 0 2 1, or both from 0
        >>> q.marginals
        tensor([[0.0000, 0.6667, 0.6667],
                [0.0000, 0.0000, 0.3333],
                [0.0000, 0.3333, 0.0000]])
    """

    def __init__(self, scores: Tensor, root: int = 0) -> None:
        super().__init__(scores, 2)
        n, columns = self.event_shape
        if n != columns or not 0 <= root < n:
            raise ValueError(f"expected square matrices with a row {root}, got shape {tuple(scores.shape)}")
        self.root = root

    @property
    def solver(self) -> Arborescence:
        """The best tree."""
        return Arborescence(self.root)

    def with_scores(self, scores: Tensor) -> Arborescences:
        """Trees from the same root at other scores."""
        return Arborescences(scores, self.root)

    def contains(self, value: Tensor) -> Tensor:
        """Whether all but the root have one edge in, and descend from the root."""
        n, vertex = self.event_shape[0], torch.arange(self.event_shape[0], device=value.device)
        binary = ((value == 0) | (value == 1)).flatten(-2).all(-1)
        wanted = (vertex != self.root).to(value)
        ancestor = value.to(self.scores).argmax(-2)
        ancestor = torch.where(vertex == self.root, vertex, ancestor)
        for _ in range(ceil(log2(n))):
            ancestor = ancestor.gather(-1, ancestor)
        return binary & (value.sum(-2) == wanted).all(-1) & (ancestor == self.root).all(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Exact samples, vertex by vertex; no gradient."""
        with torch.no_grad():
            parent = self._elimination.sample(torch.Size(sample_shape)).unsqueeze(-2)
            vertex = torch.arange(self.event_shape[0], device=parent.device)
            edges = (parent == vertex.unsqueeze(-1)) & (vertex > 0)
            return self._known(self._swap(edges.to(self.scores.dtype)))

    @lazy_property
    def _elimination(self) -> Elimination:
        """With the root as vertex 0."""
        elimination = Elimination((self._scores - self._shift.unsqueeze(-2)).exp())
        total = elimination.log_weight
        refuse(total, ~total.isfinite(), "expected a tree of edges whose scores are numbers, and no score +inf")
        return elimination

    @lazy_property
    def _scores(self) -> Tensor:
        """Scores with the root as vertex 0, -inf where an edge cannot be used."""
        n, device = self.event_shape[0], self.scores.device
        unused = torch.eye(n, dtype=torch.bool, device=device) | (torch.arange(n, device=device) == 0)
        return self._swap(self.scores.double()).masked_fill(unused, -torch.inf)

    @lazy_property
    def _shift(self) -> Tensor:
        """The best score into every vertex but the root: a constant, as every tree has one such edge."""
        best = self._scores.detach().amax(-2)
        return torch.cat([torch.zeros_like(best[..., :1]), best[..., 1:]], -1)

    @lazy_property
    def _wide_log_partition(self) -> Tensor:
        return self._elimination.log_weight + self._shift.sum(-1)

    @lazy_property
    def _wide_marginals(self) -> Tensor:
        return self._swap(self._elimination.graphs[0] * self._elimination.derivative())

    def _swap(self, matrix: Tensor) -> Tensor:
        """Vertex 0 and the root in each other's place."""
        if self.root == 0:
            return matrix
        order = list(range(self.event_shape[0]))
        order[0], order[self.root] = self.root, 0
        return matrix[..., order, :][..., order]
