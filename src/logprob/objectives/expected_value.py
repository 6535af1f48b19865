"""Training a law over categories by the expectation of a function, which says how good each outcome is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from logprob.batch import Batch
from logprob.gradients import GradientEstimator
from logprob.objectives.base import Loss


class ExpectedLoss(nn.Module):
    """``E_q f(b)``, with any gradient estimator.

    The model's law has the batch shape ``(V,)``, and ``f`` joins its variables into one number. The rows of the batch
    are not looked at, but for their context.

    Args:
        function: f, a module from ``(S, V, K)`` to ``(S,)``; a relaxed estimator calls it inside the simplex.
        gradient: of the expectation; its free parameters are parameters of this objective.
        samples: S.

    Raises:
        ValueError: if ``samples`` is below 1.

    Example:
        >>> import torch
        >>> from logprob.gradients import Enumeration
        >>> from logprob.simplex.concrete_variables import ConcreteVariables
        >>> loss = ExpectedLoss(SquaredDistance([1.0, 0.4, 0.0]), Enumeration())
        >>> loss(ConcreteVariables(3, 2), Batch(torch.zeros(1, 1))).value  # three fair coins
        tensor(1.2600, grad_fn=<MeanBackward0>)
    """

    def __init__(self, function: nn.Module, gradient: GradientEstimator, samples: int = 1) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        self.function, self.gradient, self.samples = function, gradient, samples

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The mean of ``f`` over the samples, with the estimator's gradient."""
        value: Tensor = self.gradient(model(batch.context), self.function, (self.samples,))
        return Loss(value.mean())


class SquaredDistance(nn.Module):
    """``sum_v (b_v - t_v)^2`` of binary variables, where ``b_v`` is 1 for category 1 and 0 for category 0.

    With a target strictly between 0 and 1 no outcome is without loss, and a law that is sure of the nearer one is best.

    Args:
        targets: t, one for each of V variables.

    Example:
        >>> import torch
        >>> SquaredDistance([1.0, 0.4])(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        tensor(0.1600)
    """

    targets: Tensor

    def __init__(self, targets: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("targets", torch.tensor(targets))

    def forward(self, z: Tensor) -> Tensor:
        """One-hot or relaxed ``(..., V, 2)`` to ``(...)``.

        Raises:
            ValueError: if the last two dimensions are not ``(V, 2)``.
        """
        if z.shape[-2:] != (len(self.targets), 2):
            raise ValueError(f"expected (..., {len(self.targets)}, 2), got {tuple(z.shape)}")
        return (z[..., 1] - self.targets).square().sum(-1)
