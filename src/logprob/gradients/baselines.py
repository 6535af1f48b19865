"""Numbers that are taken off a function before its score-function gradient: they change its variance, not its mean."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Baseline(nn.Module, ABC):
    """``baseline(values, features)``: what is to be taken off ``values``; it must not depend on them.

    One that requires a gradient is fitted by least squares: with the backward pass of the estimator its parameters take
    the gradient of the mean of ``(values - baseline)^2``.
    """

    @abstractmethod
    def forward(self, values: Tensor, features: Tensor | None = None) -> Tensor:
        """A number that broadcasts against ``values``.

        Args:
            values: of the function, ``(sample_shape, *batch)``, without gradient.
            features: of the law, or of what it was made from, ``(*batch, F)``, without gradient.
        """


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

    def forward(self, values: Tensor, features: Tensor | None = None) -> Tensor:
        """The mean before ``values``."""
        before = self.mean.clone()
        if self.training and torch.is_grad_enabled():
            new = values.detach().mean().to(self.mean)
            self.mean.copy_(torch.where(self.calls > 0, self.decay * before + (1 - self.decay) * new, new))
            self.calls.add_(1)
        return before


class BatchMean(Baseline):
    """The mean of all present values, of N samples and rows.

    As each value is part of its own baseline, the gradient is ``1 - 1/N`` times the right one where rows are alike.

    Example:
        >>> import torch
        >>> BatchMean()(torch.tensor([4.0, 2.0]))
        tensor(3.)
    """

    def forward(self, values: Tensor, features: Tensor | None = None) -> Tensor:
        """Their mean, without dimensions."""
        return values.mean()


class LearnedBaseline(Baseline):
    """A network that predicts the function from the scores of the law, beside a running mean of what it leaves (NVIL).

    Args:
        network: takes features ``(*batch, F)`` and gives ``(*batch, 1)``.
        remainder: what is taken off the values beyond the network; nothing if omitted.

    References:
        Mnih and Gregor, "Neural Variational Inference and Learning in Belief Networks", ICML 2014, section 2.3.

    Example:
        >>> import torch
        >>> baseline = LearnedBaseline(torch.nn.Linear(5, 1))
        >>> baseline(torch.zeros(4, 3), torch.randn(3, 5)).shape
        torch.Size([3])
    """

    def __init__(self, network: nn.Module, remainder: Baseline | None = None) -> None:
        super().__init__()
        self.network, self.remainder = network, remainder

    def forward(self, values: Tensor, features: Tensor | None = None) -> Tensor:
        """The network's prediction, and the remainder's of what it leaves; ``(*batch,)``.

        Raises:
            ValueError: if there are no features.
        """
        if features is None:
            raise ValueError("a learned baseline needs features of the law; give the estimator a context")
        predicted: Tensor = self.network(features).squeeze(-1)
        if self.remainder is None:
            return predicted
        return predicted + self.remainder(values - predicted.detach(), features)


class RunningDeviation(nn.Module):
    """``deviation(values)``: the running root mean square of values at earlier calls, at least 1; 1 at the first one.

    Divided by it, the centred function gives steps of like size while its scale changes by orders of magnitude. The
    gradient of the law is scaled, that of the function's own parameters is not.

    Args:
        decay: share that is kept, from 0 to below 1.

    Raises:
        ValueError: if ``decay`` is out of its range.

    Example:
        >>> import torch
        >>> deviation = RunningDeviation(decay=0.5)
        >>> [deviation(torch.tensor([value, -value])).item() for value in (4.0, 0.0, 0.1)]
        [1.0, 4.0, 2.8284...]
    """

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        self.square = RunningMean(decay)

    def forward(self, values: Tensor) -> Tensor:
        """The root mean square before ``values``, without dimensions."""
        return self.square(values.square()).sqrt().clamp(min=1.0)
