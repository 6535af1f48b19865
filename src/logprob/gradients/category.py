"""What most estimators do: draw categories, call the function, take log-probabilities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.gradients.base import CategoricalLaw


def draw_category(q: CategoricalLaw, sample_shape: tuple[int, ...]) -> Tensor:
    """One-hot samples of the category, without gradient, in the type of the law: the largest of some scores."""
    with torch.no_grad():
        return harden(q.scores(q.draw_noise(sample_shape))).to(dtype_of(q))


def dtype_of(q: CategoricalLaw) -> torch.dtype:
    """Type of the samples of a law, whose scores may be of a wider one."""
    return q.parameters()[0].dtype


def harden(scores: Tensor) -> Tensor:
    """One-hot vectors of the largest entries, in the type of ``scores``, without gradient."""
    with torch.no_grad():
        return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)


def relax(scores: Tensor, temperature: Tensor) -> Tensor:
    """``softmax(scores / temperature)``; ``temperature`` lacks the last dimension of ``scores``."""
    left_out = scores == -torch.inf  # infinity over the temperature would give that the gradient NaN
    divided = scores.masked_fill(left_out, 0.0) / temperature.unsqueeze(-1)
    return divided.masked_fill(left_out, -torch.inf).softmax(-1)


def with_backward_of(value: Tensor, surrogate: Tensor) -> Tensor:
    """``value``, bit by bit, with the gradient of ``surrogate`` beside its own."""
    return value + (surrogate - surrogate.detach())


def log_prob_of(logits: Tensor, category: Tensor, dims: int) -> Tensor:
    """Log-probability of one-hot categories in nats, summed over all but the first ``dims`` dimensions."""
    chosen = logits.expand(category.shape).gather(-1, category.argmax(-1, keepdim=True))
    return join(chosen, dims)


def join(values: Tensor, dims: int) -> Tensor:
    """The sum over all but the first ``dims`` dimensions."""
    return values.flatten(dims).sum(-1)
