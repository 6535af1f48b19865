"""How far points of the simplex are from its vertices."""

from __future__ import annotations

from torch import Tensor


def vertex_distance(psi: Tensor) -> Tensor:
    """Euclidean distance of points of the simplex to the nearest vertex, from 0 to ``sqrt(1 - 1 / K)``.

    Args:
        psi: shape ``(..., K)``.

    Returns:
        Shape ``(...)``.

    Example:
        >>> import torch
        >>> vertex_distance(torch.tensor([[0.0, 1.0], [0.5, 0.5]]))
        tensor([0.0000, 0.7071])
    """
    # Not |psi|^2 - 2 max + 1, which cancels near a vertex.
    to_vertex = psi.scatter_add(-1, psi.argmax(-1, keepdim=True), psi.new_full((*psi.shape[:-1], 1), -1.0))
    return to_vertex.norm(dim=-1)
