"""What most estimators do: draw categories, call the function, take log-probabilities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.gradients.base import CategoricalLaw, Function


def draw_category(q: CategoricalLaw, sample_shape: tuple[int, ...]) -> Tensor:
    """One-hot samples of the category, without gradient: the largest of the scores of some noise."""
    with torch.no_grad():
        return harden(q.scores(q.draw_noise(sample_shape)))


def harden(scores: Tensor) -> Tensor:
    """One-hot vectors of the largest entries, in the type of ``scores``, without gradient."""
    with torch.no_grad():
        return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)


def relax(scores: Tensor, temperature: Tensor) -> Tensor:
    """``softmax(scores / temperature)``; ``temperature`` lacks the last dimension of ``scores``."""
    return (scores / temperature.unsqueeze(-1)).softmax(-1)


def with_backward_of(value: Tensor, surrogate: Tensor) -> Tensor:
    """``value``, bit by bit, with the gradient of ``surrogate`` beside its own."""
    return value + (surrogate - surrogate.detach())


def evaluate(f: Function, z: Tensor, sample_shape: tuple[int, ...]) -> Tensor:
    """``f(z)``, one number a sample.

    Raises:
        ValueError: unless its shape is ``sample_shape`` and some, or all, of the further dimensions of ``z`` but the
            last.
    """
    value = f(z)
    shape = z.shape[:-1]
    if value.shape != shape[: value.dim()] or value.dim() < len(sample_shape):
        raise ValueError(
            f"f must give one number for each sample: for one-hot vectors {tuple(z.shape)} a shape that starts with "
            f"{tuple(sample_shape)} and is the beginning of {tuple(shape)}, got {tuple(value.shape)}"
        )
    return value


def log_prob_of(logits: Tensor, category: Tensor, dims: int) -> Tensor:
    """Log-probability of one-hot categories in nats, summed over all but the first ``dims`` dimensions."""
    chosen = logits.expand(category.shape).gather(-1, category.argmax(-1, keepdim=True))
    return join(chosen, dims)


def join(values: Tensor, dims: int) -> Tensor:
    """The sum over all but the first ``dims`` dimensions."""
    return values.flatten(dims).sum(-1)
