"""Samples with log-probabilities, and all states, of laws over categories and of those that know them themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from logprob.gradients.category import draw_category, log_prob_of


def draw_scored(q: Any, sample_shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Samples without gradient, and log-probabilities ``sample_shape + batch_shape`` that carry it."""
    if hasattr(q, "draw_with_log_prob"):
        z, log_prob = q.draw_with_log_prob(sample_shape)
        return z, log_prob
    category = draw_category(q, sample_shape)
    return category, log_prob_of(q.logits, category, category.dim() - 1)


def states_and_logits(q: Any) -> tuple[Tensor, Tensor]:
    """All states of one variable ``(K, *event)``, and their log-probabilities ``batch_shape + (K,)``.

    Raises:
        TypeError: if the law is not one over categories and does not list its states.
    """
    if getattr(q, "has_enumerate_support", False):
        states = q.enumerate_support(expand=False)
        return states.reshape(len(states), *q.event_shape), q.log_prob(states).movedim(0, -1)
    if hasattr(q, "draw_with_log_prob"):
        raise TypeError(f"expected a law that lists its states by enumerate_support, got {type(q).__name__}")
    logits = q.logits
    return torch.eye(logits.shape[-1], dtype=logits.dtype, device=logits.device), logits
