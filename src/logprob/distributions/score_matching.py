"""Denoising score matching, the formula that training and the held-out metric share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

Reduction = Literal["sample", "paper"]
SigmaPower = Literal[0, 2, 4]


def denoising_losses(distribution: Any, x: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """``1/2 ||sigma^2 grad u(x + v) + v||^2`` of each row, summed over all its numbers, ``(*copies, N)``.

    Args:
        distribution: whose ``score`` is ``grad u``.
        x: rows ``(N, *event)``.
        noise: v, like x, with standard deviation sigma.
        sigma: of the noise.
    """
    residual: Tensor = sigma**2 * distribution.score(x + noise) + noise
    return residual.square().flatten(residual.dim() - x.dim() + 1).sum(-1) / 2


def denoising_factor(reduction: Reduction, sigma_power: SigmaPower, sigma: float, event_shape: Sequence[int]) -> float:
    """What :func:`denoising_losses` is multiplied by, see :class:`~logprob.objectives.DenoisingScoreMatching`."""
    rows = math.prod(event_shape[:-1]) if reduction == "paper" else 1
    return float(sigma) ** (sigma_power - 4) / rows


def zero_energy_loss(
    event_shape: Sequence[int],
    sigma: float,
    reduction: Reduction = "paper",
    sigma_power: SigmaPower = 4,
) -> float:
    """Expected loss of a model that has learned nothing, whose score is zero: ``1/2 E ||v||^2`` in the same units.

    A trained model must be below it. With the reduction "paper" it is ``W sigma^2 / 2`` for images of width W.

    Args:
        event_shape: of a row, such as ``(channels, height, width)``.
        sigma: of the noise.
        reduction: as in training.
        sigma_power: as in training.

    Example:
        >>> f"{zero_energy_loss((1, 28, 28), sigma=0.01):.2e}"
        '1.40e-03'
    """
    total = math.prod(event_shape) * sigma**2 / 2
    return total * denoising_factor(reduction, sigma_power, sigma, event_shape)


def check_denoising(sigma: float, reduction: str, sigma_power: int) -> None:
    """Raise ValueError for what denoising score matching cannot use."""
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    if reduction not in ("sample", "paper"):
        raise ValueError(f"reduction must be 'sample' or 'paper', got {reduction!r}")
    if sigma_power not in (0, 2, 4):
        raise ValueError(f"sigma_power must be 0, 2 or 4, got {sigma_power}")


def event_shape_of(x: Tensor, image_shape: Sequence[int] | None) -> tuple[int, ...]:
    """Shape of a row, flattened or not.

    Raises:
        ValueError: if ``image_shape`` has another number of pixels, or rows are no real numbers.
    """
    if not x.is_floating_point():
        raise ValueError(f"score matching needs real rows, got {x.dtype}; scale pixels, and dequantise them, first")
    event = tuple(x.shape[1:])
    if image_shape is None:
        return event
    if math.prod(image_shape) != math.prod(event):
        raise ValueError(f"rows of {math.prod(event)} numbers are no images of shape {tuple(image_shape)}")
    return tuple(image_shape)
