"""An exponential moving average of parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class MovingAverage:
    """``m <- d m + (1 - d) p`` after each step t, with ``d = min(decay, (1 + t) / (10 + t))``: short at first.

    Args:
        parameters: what is averaged; they are not changed until :meth:`copy_to_parameters`.
        decay: the largest d, in [0, 1).

    Raises:
        ValueError: if ``decay`` is out of its range.

    Example:
        >>> p = torch.zeros(1)
        >>> average = MovingAverage([p], decay=0.9)
        >>> _ = p.fill_(1.0)
        >>> average.update(1)  # d = 2 / 11
        >>> average.copy_to_parameters()
        >>> p
        tensor([0.8182])
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of an average must be at least 0 and below 1, got {decay}")
        self.decay, self.parameters = decay, list(parameters)
        self.averages = [value.detach().clone() for value in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the present parameters into the average; ``step`` is 1 after the first step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)

    @torch.no_grad()
    def copy_to_parameters(self) -> None:
        """Put the averages in the place of the parameters."""
        for value, average in zip(self.parameters, self.averages, strict=True):
            value.copy_(average)
