"""Conditions are integers from zero on; what is not is refused by name."""

from __future__ import annotations

import torch
from torch import Tensor


def check_labels(labels: Tensor | None, conditions: int, copies: int | None = None) -> Tensor:
    """The labels, if each is one of ``0..conditions - 1``.

    Args:
        labels: integers ``(N,)``, the same for all copies, or ``(C, N)``.
        conditions: number K of conditions.
        copies: number C of copies, or None.

    Returns:
        The labels as int64.

    Raises:
        ValueError: if there are none, or they are no integers, of another shape, or out of range.

    Example:
        >>> check_labels(torch.tensor([0, 3]), conditions=3)
        Traceback (most recent call last):
        ...
        ValueError: labels must be from 0 to 2, got 0 to 3
    """
    if labels is None:
        raise ValueError(f"expected labels from 0 to {conditions - 1} as context, got none")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    stacked = copies is not None and labels.dim() == 2 and len(labels) == copies
    if labels.dim() != 1 and not stacked:
        shapes = "(N,)" if copies is None else f"(N,) or ({copies}, N)"
        raise ValueError(f"labels must have shape {shapes}, got {tuple(labels.shape)}")
    # A compiled graph cannot branch on values; indexing fails there by itself.
    if labels.numel() and not torch.compiler.is_compiling():
        least, largest = (int(value) for value in labels.aminmax())
        if least < 0 or largest >= conditions:
            raise ValueError(f"labels must be from 0 to {conditions - 1}, got {least} to {largest}")
    return labels.long()


def of_labels(table: Tensor, labels: Tensor, copies: int | None) -> Tensor:
    """Entries of checked labels, ``(*copies, N, ...)``, of a table ``(*copies, K, ...)``."""
    if copies is None:
        return table.index_select(0, labels)  # its gradient takes less time than that of indexing
    if labels.dim() == 1:
        return table.index_select(1, labels)
    return table[torch.arange(copies, device=labels.device).unsqueeze(-1), labels]
