"""Fruchterman and Reingold's springs, one step for many graphs at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

Array = NDArray[Any]
CLOSEST = 0.01  # distances and forces below count as this
REACH = 0.1  # largest step, of the extent of the drawing


def spring_step(positions: Array, adjacency: Array) -> Array:
    """Move every vertex along its force, then centre the drawing and scale its largest coordinate to 1.

    ``force_i = sum_j (x_i - x_j) (k^2 / d_ij^2 - A_ij d_ij / k)`` with ``k = 1 / sqrt(n)``; a vertex moves by a tenth
    of the drawing's extent in that direction, and by less if the force is below 0.01. One such step is what
    ``networkx.spring_layout(iterations=1)`` does.

    Args:
        positions: ``(N, n, 2)``.
        adjacency: 0 and 1, ``(N, n, n)``.

    Example:
        >>> apart = spring_step(np.array([[[0.0, 0.0], [0.5, 0.0]]]), np.zeros((1, 2, 2)))
        >>> apart[0].round(6).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """
    k = 1 / np.sqrt(positions.shape[1])
    apart = positions[:, :, None] - positions[:, None]  # (N, n, n, 2)
    distance = np.maximum(np.sqrt((apart**2).sum(-1)), CLOSEST)
    force = np.einsum("bijd,bij->bid", apart, k**2 / distance**2 - adjacency * distance / k)
    extent = (positions.max(axis=1) - positions.min(axis=1)).max(axis=1)  # (N,)
    length = np.maximum(np.sqrt((force**2).sum(-1)), CLOSEST)
    moved = positions + force * (REACH * extent[:, None] / length)[..., None]
    centred = moved - moved.mean(axis=1, keepdims=True)
    return centred / np.abs(centred).max(axis=(1, 2), keepdims=True)


def trajectories(start: Array, adjacency: Array, steps: int) -> Array:
    """Drawings after 1, 2, ... ``steps`` steps of the springs; ``(N, steps, n, 2)``.

    Args:
        start: positions ``(N, n, 2)``.
        adjacency: 0 and 1, ``(N, n, n)``.
        steps: of the springs.
    """
    positions, kept = start, []
    for _ in range(steps):
        positions = spring_step(positions, adjacency)
        kept.append(positions)
    return np.stack(kept, axis=1)


def heaviest_trees(weights: Array, vertices: int) -> Array:
    """Maximum spanning trees of complete graphs, as 0 and 1 of the edges (0, 1), (0, 2), ..., (n-2, n-1).

    Args:
        weights: ``(N, n (n - 1) / 2)``, without ties.
        vertices: n.

    Example:
        >>> heaviest_trees(np.array([[0.1, 0.5, 0.3]]), 3)
        array([[0, 1, 1]], dtype=uint8)
    """
    tail, head = np.triu_indices(vertices, 1)
    first = np.arange(len(weights))[:, None] * vertices
    # a tree depends on the order of the weights alone; zero would be no edge
    rank = 1 + (-weights).argsort(axis=1).argsort(axis=1)
    size = len(weights) * vertices
    graph = csr_matrix((rank.ravel(), ((first + tail).ravel(), (first + head).ravel())), shape=(size, size))
    tree = minimum_spanning_tree(graph).tocoo()
    number = np.zeros((vertices, vertices), dtype=np.intp)
    number[tail, head] = number[head, tail] = np.arange(len(tail))
    chosen = np.zeros(weights.shape, dtype=np.uint8)
    chosen[tree.row // vertices, number[tree.row % vertices, tree.col % vertices]] = 1
    return chosen


def adjacency_of(edges: Array, vertices: int) -> Array:
    """Symmetric matrices ``(N, n, n)`` of edge vectors ``(N, n (n - 1) / 2)``."""
    tail, head = np.triu_indices(vertices, 1)
    matrix = np.zeros((len(edges), vertices, vertices), dtype=edges.dtype)
    matrix[:, tail, head] = matrix[:, head, tail] = edges
    return matrix
