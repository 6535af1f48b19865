"""Shapes that the energies share: rows of copies, scalars of rows, the width of a row."""

from __future__ import annotations

from torch import Tensor, nn


def rows_of_copies(value: Tensor, copies: int | None) -> Tensor:
    """Rows ``(C, N, D)`` of each copy; gradients with respect to rows that copies share would add up."""
    return value.expand(copies, *value.shape) if copies is not None and value.dim() == 2 else value


def rows_of_scalars(values: Tensor, features: Tensor) -> Tensor:
    """Numbers of rows without a last axis of length one, where they have it.

    Args:
        values: ``(*copies, N, 1)`` or ``(*copies, N)``, the copies left out where they share the numbers.
        features: of the same rows, ``(*copies, N, m)``.

    Raises:
        ValueError: for another shape.
    """
    if values.dim() == features.dim() and values.shape[-1] == 1:
        return values.squeeze(-1)
    rows = features.shape[-2] if features.dim() > 1 else 1
    if values.dim() == 2 and values.shape == (rows, 1) and rows > 1:
        return values.squeeze(-1)
    if values.dim() < features.dim() and values.shape[-1:] in (features.shape[-2:-1], ()):
        return values
    raise ValueError(f"expected a number for each of {rows} rows from the base, got shape {tuple(values.shape)}")


def width_of(network: nn.Module) -> int:
    """Number of inputs of a network, as its first layer that knows says; -1 if none does."""
    for part in network.modules():
        for name in ("variables", "inputs", "in_features"):
            if isinstance(width := getattr(part, name, None), int):
                return width
    return -1
