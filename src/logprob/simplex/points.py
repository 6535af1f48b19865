"""Points of the simplex as numbers: whether they are some, and their logarithms."""

from __future__ import annotations

import torch
from torch import Tensor


def on_simplex(value: Tensor) -> Tensor:
    """Whether rows are non-negative and sum to 1, up to what K numbers of their precision may be off by.

    Example:
        >>> import torch
        >>> on_simplex(torch.tensor([[0.5, 0.5], [0.5, 0.4]]))
        tensor([ True, False])
    """
    computed = torch.promote_types(value.dtype, torch.float32)
    # Entries are rounded relative to themselves, so their errors sum to that of 1; those of the sum grow with K.
    tolerance = 4 * (torch.finfo(value.dtype).eps + value.shape[-1] * torch.finfo(computed).eps)
    total = value.sum(-1, dtype=computed)
    return (value >= 0).all(-1) & ((total - 1).abs() <= tolerance)


def log_with_zeros(value: Tensor) -> Tensor:
    """Logarithm that is -inf with the gradient 0 at zeros, not NaN.

    Example:
        >>> import torch
        >>> log_with_zeros(torch.tensor([0.0, 1.0]))
        tensor([-inf, 0.])
    """
    zero = value == 0
    return value.masked_fill(zero, 1.0).log().masked_fill(zero, -torch.inf)


def check_event(value: Tensor, categories: int) -> None:
    """Raise ValueError unless the last dimension is one of categories."""
    if value.shape[-1:] != (categories,):
        raise ValueError(f"expected values of shape (..., {categories}), got {tuple(value.shape)}")


def check_points(value: Tensor, valid: Tensor) -> None:
    """Raise ValueError, naming the first, if a point is not valid."""
    if not valid.all():
        raise ValueError(f"expected points of the simplex, got {value.detach()[~valid][0].tolist()}")
