"""The JointVAE objective: divergences held to capacities that grow during training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from logprob.batch import Batch
from logprob.distributions.checks import refuse_context
from logprob.gradients import GradientEstimator
from logprob.objectives.base import Loss
from logprob.objectives.divergence import Divergence
from logprob.objectives.elbo import NegativeELBO


@dataclass(frozen=True)
class Capacity:
    """Nats of divergence that a group of latent variables is held to at step t.

    The t-th of ``steps`` equally spaced values from 0 to ``maximum``, then constant; none is above ``cap``.

    Args:
        maximum: nats at the end.
        steps: number n of values.
        cap: nats that the group can hold at most, such as ``V log K`` for V variables of K categories: above it no
            divergence can follow. The published experiments had none.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> capacity = Capacity(5.0, steps=25_000)
        >>> capacity(0), capacity(1), capacity(24_999), capacity(50_000)
        (0.0, 0.0002000080003200128, 5.0, 5.0)
    """

    maximum: float
    steps: int
    cap: float | None = None

    def __post_init__(self) -> None:
        if not self.maximum >= 0 or self.steps < 2 or (self.cap is not None and not self.cap > 0):
            raise ValueError(f"expected maximum >= 0, steps >= 2 and cap > 0 or null, got {self}")

    def __call__(self, step: int) -> float:
        """The capacity at a step, counted from 0."""
        grown = self.maximum * min(step, self.steps - 1) / (self.steps - 1)
        return grown if self.cap is None else min(grown, self.cap)


class CapacityELBO(nn.Module):
    """``-mean_b [log p(x_b | z) - gamma sum_g |KL_g - C_g(t)|]`` in nats, one capacity ``C_g`` a group of variables.

    At ``KL_g = C_g`` the gradient of the absolute value is 0. This is no bound: the negative of what it minimises is
    one only where no divergence is below its capacity and gamma is at least 1.

    Args:
        capacities: one for each group of latent variables, in the model's order.
        gamma: weight, >= 0.
        kl: as for :class:`NegativeELBO`.
        gradient: as for :class:`NegativeELBO`.
        distance: of ``"rows"``: the mean of ``|KL_b - C|`` over rows; of the ``"batch"``: ``|mean_b KL_b - C|``, which
            lets rows differ.
        divide: ``"none"``, or by the number of ``"pixels"`` of a row, which rescales the loss.
        samples: as for :class:`NegativeELBO`.

    Raises:
        ValueError: if a number or a name is out of its range; when called, if there are more or fewer capacities than
            groups.

    References:
        Dupont, "Learning Disentangled Joint Continuous and Discrete Representations", NeurIPS 2018.

    Example:
        >>> import torch
        >>> from logprob.distributions import GaussianLatent, LatentVariableModel
        >>> from logprob.nn import MLP
        >>> model = LatentVariableModel(6, GaussianLatent(2), MLP, MLP)
        >>> objective = CapacityELBO([Capacity(5.0, 100)], gamma=30.0)
        >>> sorted(objective(model, Batch(torch.zeros(4, 6))).metrics)
        ['capacity_0', 'elbo', 'kl_0', 'log_likelihood']
    """

    def __init__(
        self,
        capacities: Sequence[Capacity],
        gamma: float = 30.0,
        kl: Divergence | Sequence[Divergence] = "closed",
        gradient: GradientEstimator | None = None,
        distance: Literal["rows", "batch"] = "rows",
        divide: Literal["none", "pixels"] = "none",
        samples: int = 1,
    ) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma must not be negative, got {gamma}")
        if distance not in ("rows", "batch") or divide not in ("none", "pixels"):
            raise ValueError(f"expected distance rows or batch and divide none or pixels, got {distance}, {divide}")
        self.capacities, self.gamma, self.distance, self.divide = list(capacities), gamma, distance, divide
        self.bound = NegativeELBO(kl, gradient, samples)
        self.steps = 0

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss; its metrics are the log-likelihood, the bound, and each divergence with its capacity, in nats.

        A call under ``torch.no_grad`` moves no capacity.
        """
        refuse_context(model, batch.context)
        terms = self.bound.terms(model, batch.x)
        if len(terms.divergences) != len(self.capacities):
            raise ValueError(f"expected {len(terms.divergences)} capacities, got {len(self.capacities)}")
        held = [capacity(self.steps) for capacity in self.capacities]
        if torch.is_grad_enabled():
            self.steps += 1
        log_likelihood = terms.log_likelihood.mean()
        distances = [self._distance(kl, target) for kl, target in zip(terms.divergences, held, strict=True)]
        value = self.gamma * torch.stack(distances).sum() - log_likelihood
        if self.divide == "pixels":
            value = value / math.prod(batch.x.shape[1:])
        return Loss(value, self._metrics(log_likelihood.detach(), terms.divergences, held))

    def _distance(self, kl: Tensor, target: float) -> Tensor:
        rows = kl.mean(0) if kl.dim() > 1 else kl  # (B,)
        return (rows - target).abs().mean() if self.distance == "rows" else (rows.mean() - target).abs()

    @staticmethod
    def _metrics(log_likelihood: Tensor, divergences: list[Tensor], held: list[float]) -> dict[str, Tensor]:
        means = [kl.detach().mean() for kl in divergences]
        metrics = {"log_likelihood": log_likelihood, "elbo": log_likelihood - torch.stack(means).sum()}
        for number, (mean, target) in enumerate(zip(means, held, strict=True)):
            metrics |= {f"kl_{number}": mean, f"capacity_{number}": torch.tensor(target)}
        return metrics

    def get_extra_state(self) -> Tensor:
        """The number of steps made."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on counting from there."""
        self.steps = int(state)
