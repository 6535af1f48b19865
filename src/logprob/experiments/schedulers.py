"""Learning-rate schedules that torch.optim does not have."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from logprob.experiments.stopping import improves

__all__ = ["InverseTimeDecay", "ReduceOnPlateau"]


class ReduceOnPlateau(LRScheduler):
    """Multiply the learning rate by ``factor`` when the monitored metric has stopped improving.

    What :class:`torch.optim.lr_scheduler.ReduceLROnPlateau` does, with a relative threshold that is right for
    negative losses too: a value improves on the best one if ``value < best - threshold |best|``.

    Args:
        optimizer: whose learning rates change.
        factor: multiplier, in (0, 1).
        patience: epochs without improvement before a reduction.
        threshold: relative improvement that counts.
        min_lr: learning rate that no reduction goes below.
    """

    takes_metric = True

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 0.5,
        patience: int = 10,
        threshold: float = 1e-3,
        min_lr: float = 1e-7,
    ) -> None:
        if not 0 < factor < 1:
            raise ValueError(f"factor must be in (0, 1), got {factor}")
        self.factor, self.patience, self.threshold, self.min_lr = factor, patience, threshold, min_lr
        self.best, self.stale = math.inf, 0
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Present learning rates; :meth:`step` changes them."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self, metric: float | None = None) -> None:
        """Record one epoch; ``metric`` is lower-is-better."""
        if metric is None:  # the call that every scheduler makes of itself when it is made
            self._last_lr = self.get_lr()
            return
        if improves(metric, self.best, self.threshold):
            self.best, self.stale = metric, 0
        else:
            self.stale += 1
        if self.stale > self.patience:
            self.stale = 0
            for group in self.optimizer.param_groups:
                group["lr"] = max(group["lr"] * self.factor, min(self.min_lr, group["lr"]))
        self._last_lr = self.get_lr()


class InverseTimeDecay(LRScheduler):
    """Learning rate ``max(min_lr, lr / (1 + decay t))`` of update ``t = 0, 1, ...``: it moves after every update.

    Args:
        optimizer: whose learning rates change.
        decay: how fast, per update, at least 0.
        min_lr: learning rate that it does not go below; a smaller ``lr`` stays as it is.

    Raises:
        ValueError: if ``decay`` is negative.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> schedule = InverseTimeDecay(optimizer, decay=1.0, min_lr=0.4)
        >>> for _ in range(3):
        ...     print(schedule.get_last_lr()[0])
        ...     optimizer.step()
        ...     schedule.step()
        1.0
        0.5
        0.4
    """

    every_update = True

    def __init__(self, optimizer: Optimizer, decay: float = 1e-3, min_lr: float = 1e-4) -> None:
        if decay < 0:
            raise ValueError(f"decay must be at least 0, got {decay}")
        self.decay, self.min_lr = decay, min_lr
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Rates of the present update, from its number alone."""
        factor = 1 / (1 + self.decay * self.last_epoch)
        return [max(rate * factor, min(self.min_lr, rate)) for rate in self.base_lrs]
