"""Gumbel noise: standard, and given which of the perturbed logits is the largest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gumbel(shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard Gumbel noise, always finite.

    Args:
        shape: of the noise.
        like: gives dtype (float32 or float64) and device.

    Example:
        >>> import torch
        >>> gumbel((2, 3), torch.zeros(())).isfinite().all()
        tensor(True)
    """
    return log_exponential(shape, like).neg_()


def log_exponential(shape: Sequence[int], like: Tensor) -> Tensor:
    """Logarithms of standard exponential noise.

    ``torch.rand`` gives multiples of ``eps / 2`` below 1. Of these 0 alone has no double logarithm; it becomes the
    middle of its cell. (``Tensor.exponential_`` does the same, and takes four times as long on a CPU.)
    """
    u = torch.rand(tuple(shape), dtype=like.dtype, device=like.device)
    return u.clamp_min_(torch.finfo(u.dtype).eps / 4).log_().neg_().log_()


def gumbel_given(logits: Tensor, category: Tensor) -> Tensor:
    """Gumbel noise from its law given the category that ``logits + noise`` is to have.

    With exponential E and the given category b::

        noise_b = -log E_b - logits_b        noise_i = -log(E_i + E_b exp(logits_i))    (i != b)

    Args:
        logits: normalised, ``(..., K)``.
        category: one-hot, ``(..., K)``; dimensions in front of those of the logits are sample dimensions.

    Returns:
        Noise, ``(..., K)``, differentiable with respect to the logits.

    References:
        Maddison, Tarlow, Minka, "A* Sampling", NeurIPS 2014.

    Example:
        >>> import torch
        >>> logits = torch.log_softmax(torch.zeros(3), -1)
        >>> (logits + gumbel_given(logits, torch.eye(3))).argmax(-1)
        tensor([0, 1, 2])
    """
    shape = torch.broadcast_shapes(logits.shape, category.shape)
    log_e = log_exponential(shape, logits)
    chosen = category.bool().expand(shape)
    least = log_e.masked_fill(~chosen, -torch.inf).amax(-1, keepdim=True)
    return -torch.where(chosen, log_e + logits, torch.logaddexp(log_e, least + logits))
