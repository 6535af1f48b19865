"""Numbers that are taken off a function before its score-function gradient: they change its variance, not its mean."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Baseline(nn.Module, ABC):
    """``baseline(values)``: what is to be taken off ``values``; it must not depend on them."""

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """A number that broadcasts against ``values``."""


class RunningMean(Baseline):
    """The running mean of the function at earlier calls; 0 at the first one.

    Each training call moves it: ``mean <- decay * mean + (1 - decay) * values.mean()``, from the first values on; calls
    in evaluation mode or under ``torch.no_grad`` only read it.

    Args:
        decay: share that is kept, from 0 to below 1.

    Attributes:
        mean: the present mean.

    Raises:
        ValueError: if ``decay`` is out of its range.

    Example:
        >>> import torch
        >>> baseline = RunningMean(decay=0.5)
        >>> [baseline(torch.tensor(value)).item() for value in (4.0, 2.0, 2.0)]
        [0.0, 4.0, 3.0]
    """

    mean: Tensor
    calls: Tensor

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"expected 0 <= decay < 1, got {decay}")
        self.decay = decay
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, values: Tensor) -> Tensor:
        """The mean before ``values``."""
        before = self.mean.clone()
        if self.training and torch.is_grad_enabled():
            new = values.detach().mean().to(self.mean)
            self.mean.copy_(torch.where(self.calls > 0, self.decay * before + (1 - self.decay) * new, new))
            self.calls.add_(1)
        return before
