"""The step size of the AIMLE paper."""

from __future__ import annotations

import torch
from torch import Tensor

from logprob.discrete.controller import Controller
from logprob.discrete.density import per_sample
from logprob.discrete.steps import Move, Outcome, Slope, relative


class PaperStep(Controller):
    """``lambda = beta |scores|_F / |g|_F`` over the whole batch, with a ``beta`` that moves by a constant.

    After every backward pass, by the mean number c of coordinates that the difference of a sample changes::

        mean <- decay mean + (1 - decay) c
        speed <- momentum speed + rate sign(target - mean)        (sign(0) = -1)
        beta <- max(beta + speed, 0)

    The gradient of an instance depends on the others in its batch; scores of zero get none; from ``beta = 0`` the first
    gradient is 0. :class:`AdaptiveStep` does without all that. The published code divides by a ``lambda`` that is
    sqrt(S) smaller than the one that moves the scores; here they are the same.

    Args:
        target: of the mean.
        beta: to start from, >= 0; 0 in all published experiments.
        rate: > 0.
        momentum: from 0 to below 1.
        decay: of the mean, which starts at 1, from 0 to below 1.
        average: samples over which differences are averaged before they are counted; it divides S.

    Raises:
        ValueError: if a number is out of its range.

    References:
        Minervini, Franceschi and Niepert, "Adaptive Perturbation-Based Gradient Estimation for Discrete Latent Variable
        Models", AAAI 2023.

    Example:
        >>> PaperStep(target=10.0, rate=1e-3).beta
        tensor(0.)
    """

    beta: Tensor
    density: Tensor
    speed: Tensor

    def __init__(
        self,
        target: float = 1.0,
        beta: float = 0.0,
        rate: float = 1e-4,
        momentum: float = 0.0,
        decay: float = 0.9,
        average: int = 1,
    ) -> None:
        super().__init__()
        if not (beta >= 0 and rate > 0 and 0 <= momentum < 1 and 0 <= decay < 1 and average >= 1):
            raise ValueError(
                f"expected beta >= 0, rate > 0, momentum and decay in [0, 1), average >= 1, got {beta}, {rate}, "
                f"{momentum}, {decay} and {average}"
            )
        self.target, self.rate, self.momentum, self.decay, self.average = target, rate, momentum, decay, average
        self.register_buffer("beta", torch.tensor(float(beta)))
        self.register_buffer("density", torch.ones(()))
        self.register_buffer("speed", torch.zeros(()))

    def forward(self, slope: Slope, points: Tensor, scores: Tensor) -> Move:
        """``beta |scores|_F g / |g|_F``."""
        return relative(self.beta.to(points.dtype), slope, scores, (0, 1, 2))

    def evidence(self, outcome: Outcome) -> Tensor:
        """The sum of the densities and the number of instances, all of them."""
        density = per_sample(outcome, self.average)
        return torch.stack([density.sum(), density.new_full((), density.shape[0])])

    def update(self, sums: Tensor) -> None:
        """Mean, speed, ``beta``, in this order."""
        total, count = sums.to(self.density.dtype)
        self.density.mul_(self.decay).add_((1 - self.decay) * total / count.clamp(min=1))
        sign = 2 * (self.density < self.target).to(self.speed.dtype) - 1
        self.speed.mul_(self.momentum).add_(sign, alpha=self.rate)
        self.beta.add_(self.speed).clamp_(min=0)
