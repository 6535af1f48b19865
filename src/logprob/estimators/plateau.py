"""A learning rate that is cut when the training loss stops falling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from logprob.estimators.training import adam


class ReduceOnPlateau:
    """Adam whose learning rate falls to a tenth when the mean loss of an epoch did not fall for some epochs.

    Three hooks of :func:`~logprob.estimators.training.train_copies`. All copies share the learning rate, so it is the
    mean of their losses that is watched.

    Args:
        steps_per_epoch: steps whose mean loss is compared.
        patience: epochs without a fall.

    Example:
        >>> plateau, w = ReduceOnPlateau(1, patience=2), nn.Parameter(torch.zeros(1))
        >>> optimizer, losses = plateau.adam([w], 0.1), plateau.watch(lambda index: w.detach())
        >>> for step in range(1, 6):
        ...     _ = losses(torch.arange(1)), plateau.after_step(step)
        >>> round(optimizer.param_groups[0]["lr"], 6)
        0.01
    """

    def __init__(self, steps_per_epoch: int, patience: int = 20) -> None:
        self.steps_per_epoch, self.patience = steps_per_epoch, patience
        self.total = torch.zeros(())

    def adam(self, parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """The optimiser that is watched over."""
        optimizer = adam(parameters, learning_rate)
        self.scheduler = ReduceLROnPlateau(optimizer, factor=0.1, patience=self.patience)
        return optimizer

    def watch(self, losses: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The same losses, remembered."""

        def watched(index: Tensor) -> Tensor:
            each = losses(index)
            self.total = self.total.to(each.device) + each.detach().mean()
            return each

        return watched

    def after_step(self, step: int) -> None:
        """At the end of an epoch, look at its mean loss."""
        if step % self.steps_per_epoch == 0:
            self.scheduler.step(self.total.item() / self.steps_per_epoch)
            self.total = torch.zeros(())
