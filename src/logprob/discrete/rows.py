"""Samples, instances and numbers of an event: three dimensions, whatever shapes they have."""

from __future__ import annotations

from torch import Tensor


def as_rows(x: Tensor, samples: int, event_dim: int) -> Tensor:
    """``sample_shape + batch_shape + event_shape`` as ``(S, N, D)``."""
    cut = x.dim() - event_dim
    lead, event = x.shape[:cut].numel(), x.shape[cut:].numel()
    return x.reshape(samples, lead // samples, event)
