"""How a loss is made of several samples."""

from __future__ import annotations

from typing import Literal

Reduction = Literal["mean", "sum", "paper"]


def factors(reduction: Reduction, samples: int) -> tuple[float, float]:
    """Of the gradient of the loss with respect to a sample, and of the estimate that comes of it.

    Samples of a mean have gradients of 1 / S of what they would have alone. ``"paper"`` takes the gradients of a sum,
    and gives the mean of their estimates.
    """
    if reduction == "sum":
        return 1.0, 1.0
    return (float(samples), 1 / samples) if reduction == "mean" else (1.0, 1 / samples)
