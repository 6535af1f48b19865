"""The heaviest spanning tree of a complete graph with scores on its edges."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.refusal import check_listable, check_scores, refuse


@dataclass(frozen=True)
class SpanningTree(Solver):
    """Indicator of the maximum spanning tree, ``argmax <z, scores>`` over the edge sets z of spanning trees.

    An instance is a vector of the scores of the ``E = n (n - 1) / 2`` edges between n vertices, in the order (0, 1),
    (0, 2), ..., (n - 2, n - 1); `edges_of` makes it from a matrix. Prim's algorithm over dense rows, O(n^2) an
    instance, every instance of the batch at once. Of equally good vertices the one of lowest index joins the tree
    first, by the neighbour that reached it first.

    Edges of score -inf do not exist. NaN is an error, and so is a graph that falls apart, unless ``forest`` is set; in
    compiled code, under ``torch.func`` and on a GPU, where an error would need the host, such an answer is NaN.

    Args:
        forest: let z be the maximum spanning forest: one tree for each component of the graph.

    Raises:
        ValueError: if the number of edges is no n (n - 1) / 2, a score is NaN, or there is no spanning tree.

    References:
        Prim, *Shortest connection networks and some generalizations*, Bell System Technical Journal 1957.

    Example:
        >>> import torch
        >>> SpanningTree()(torch.tensor([3.0, 1.0, 2.0]))  # the edges 01, 02, 12 of a triangle
        tensor([1., 0., 1.])
    """

    forest: bool = False

    def __call__(self, scores: Tensor, **unknown: Any) -> Tensor:
        """Solve every instance; see the class."""
        check_scores(self, scores, 1, unknown)
        scores = scores.detach()
        if vertices(scores.shape[-1]) < 3:
            z = torch.ones_like(scores)
        else:
            flat = scores.reshape(-1, scores.shape[-1])
            z = torch.zeros_like(flat).scatter(-1, _prim(flat), 1.0).reshape(scores.shape)
        missing = scores == -torch.inf
        if self.forest:
            return refuse(z.masked_fill(missing, 0.0), scores.isnan().any(-1), "a score is NaN")
        wrong = scores.isnan() | (missing & (z > 0))
        return refuse(z, wrong.any(-1), "a score is NaN, or edges of score -inf leave no spanning tree")

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All n^(n - 2) trees, in the order of their Prüfer codes."""
        n = vertices(event_shape[-1])
        if n < 3:
            return torch.ones(1, event_shape[-1])
        check_listable(self, n ** (n - 2))
        return _from_pruefer_codes(torch.cartesian_prod(*[torch.arange(n)] * (n - 2)).reshape(-1, n - 2), n)


def vertices(edges: int) -> int:
    """Number of vertices n of a complete graph with ``edges = n (n - 1) / 2``; one if there are no edges.

    Raises:
        ValueError: if there is no such n.
    """
    n = (1 + isqrt(1 + 8 * edges)) // 2
    if n * (n - 1) // 2 != edges:
        raise ValueError(f"expected n (n - 1) / 2 edges of a complete graph, got {edges}")
    return n


def edges_of(matrix: Tensor) -> Tensor:
    """Edge vector of a square matrix, the mean of both directions, so that both triangles receive gradient.

    Args:
        matrix: shape ``(*batch, n, n)``; the diagonal is not used.

    Returns:
        Shape ``(*batch, n (n - 1) / 2)``.

    Example:
        >>> import torch
        >>> edges_of(torch.tensor([[0.0, 1.0], [3.0, 0.0]]))
        tensor([2.])
    """
    n = matrix.shape[-1]
    if matrix.dim() < 2 or matrix.shape[-2] != n:
        raise ValueError(f"expected square matrices, got shape {tuple(matrix.shape)}")
    first, second = _ends(n, matrix.device)
    return (matrix[..., first, second] + matrix[..., second, first]) / 2


def matrix_of(edges: Tensor) -> Tensor:
    """Symmetric matrix of an edge vector, with a diagonal of zeros; `edges_of` is its inverse.

    Args:
        edges: shape ``(*batch, n (n - 1) / 2)``.

    Returns:
        Shape ``(*batch, n, n)``.

    Example:
        >>> import torch
        >>> matrix_of(torch.tensor([2.0]))
        tensor([[0., 2.],
                [2., 0.]])
    """
    n = vertices(edges.shape[-1])
    padded = torch.nn.functional.pad(edges, (0, 1))  # the last place, a zero, is for the diagonal
    places = _places(n, edges.device).flatten()
    return padded.index_select(-1, places).unflatten(-1, (n, n))


def _ends(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The two vertices of every edge."""
    first, second = torch.triu_indices(n, n, 1, device=device)
    return first, second


def _places(n: int, device: torch.device) -> Tensor:
    """Place of edge (i, j) in the edge vector, shape ``(n, n)``; one past the end on the diagonal."""
    i = torch.arange(n, device=device)
    place = _place(i.unsqueeze(-1), i, n)
    return place.masked_fill(torch.eye(n, dtype=torch.bool, device=device), n * (n - 1) // 2)


def _place(i: Tensor, j: Tensor, n: int) -> Tensor:
    """Place of edge (i, j), in any order of its ends."""
    low, high = torch.minimum(i, j), torch.maximum(i, j)
    return low * (2 * n - low - 1) // 2 + high - low - 1


def _prim(scores: Tensor) -> Tensor:
    """Places of the n - 1 edges of the tree, ``(B, E)`` -> ``(B, n - 1)``."""
    n, rows = vertices(scores.shape[-1]), torch.arange(len(scores), device=scores.device)
    # Missing edges stay above the vertices of the tree, whose ceiling is -inf: the search always finds a new vertex.
    lowest = torch.finfo(scores.dtype).min
    matrix = matrix_of(scores.nan_to_num(nan=lowest, posinf=torch.inf, neginf=lowest))  # (B, n, n)
    best = matrix[:, 0]  # the best edge from the tree to every vertex outside of it, (B, n)
    parent = torch.zeros_like(best, dtype=torch.int64)  # the end of that edge in the tree
    new = parent[:, :1]  # the tree begins with vertex 0
    ceiling = torch.full_like(best, torch.inf)
    parents, children = [], []
    for _ in range(n - 1):
        ceiling = ceiling.scatter(-1, new, -torch.inf)
        new = torch.minimum(best, ceiling).argmax(-1, keepdim=True)
        parents.append(parent.gather(-1, new))
        children.append(new)
        row = matrix[rows, new.squeeze(-1)]
        parent = torch.where(row > best, new, parent)
        best = torch.maximum(row, best)
    return _place(torch.cat(parents, -1), torch.cat(children, -1), n)


def _from_pruefer_codes(codes: Tensor, n: int) -> Tensor:
    """Trees of Prüfer codes: again and again the leaf of lowest index is tied to the next vertex of the code."""
    everyone = torch.arange(n)
    degree = 1 + (codes.unsqueeze(-1) == everyone).sum(-2)  # (M, n)
    z = torch.zeros(len(codes), n * (n - 1) // 2)
    for vertex in codes.unbind(-1):
        leaf = (degree == 1).int().argmax(-1)
        z.scatter_(-1, _place(leaf, vertex, n).unsqueeze(-1), 1.0)
        degree = degree - (everyone == leaf.unsqueeze(-1)).int() - (everyone == vertex.unsqueeze(-1)).int()
    first, second = (degree == 1).nonzero()[:, 1].reshape(-1, 2).unbind(-1)
    return z.scatter_(-1, _place(first, second, n).unsqueeze(-1), 1.0)
