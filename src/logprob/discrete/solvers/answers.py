"""What a solver that a user wrote is given, and what its answers must be like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.solvers.refusal import can_look, name_instance


def flatten_batch(
    scores: Tensor, event_dim: int, instance: Mapping[str, Any]
) -> tuple[Tensor, dict[str, Tensor], dict[str, Any]]:
    """One batch dimension, instead of any batch shape.

    Args:
        scores: shape ``(*batch, *event)``.
        event_dim: number of dimensions of an event.
        instance: other arguments of the solver, by name.

    Returns:
        Detached scores ``(N, *event)``; those of ``instance`` that are tensors with the batch shape in front, detached,
        with N rows; and all others as they are.
    """
    batch = scores.shape[: scores.dim() - event_dim]

    def flat(tensor: Tensor) -> Tensor:
        return tensor.detach().reshape(batch.numel(), *tensor.shape[len(batch) :])

    tensors = {name: value for name, value in instance.items() if isinstance(value, Tensor)}
    rows = {name: flat(value) for name, value in tensors.items() if value.shape[: len(batch)] == batch}
    return flat(scores), rows, {name: value for name, value in instance.items() if name not in rows}


def check_values(z: Tensor, event_dim: int, binary: bool) -> Tensor:
    """``z``, whose entries must be 0 or 1 if ``binary``, else finite.

    In compiled code, under ``torch.func`` and on a GPU, where an error would need the host, a wrong entry becomes NaN.

    Raises:
        ValueError: naming the first wrong instance, its first wrong entry, and what stands there.
    """
    right = (z == 0) | (z == 1) if binary else z.isfinite()
    if not can_look(z):
        return z.masked_fill(~right, torch.nan)
    if not right.all():
        first = right.logical_not().nonzero()[0].tolist()
        batch, entry = first[: len(first) - event_dim], first[len(first) - event_dim :]
        wanted = "0 or 1" if binary else "a finite number"
        raise ValueError(f"{name_instance(batch)}: expected {wanted} at entry {entry}, got {z[tuple(first)].item()}")
    return z
