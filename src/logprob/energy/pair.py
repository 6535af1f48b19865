"""An energy and the noise that it is contrasted with, in one module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from logprob.distributions import DistributionModule, UnnormalizedDistribution


class ContrastivePair(DistributionModule):
    """An energy u and a noise distribution q; as a model, the energy.

    Both are trained, in turns or one after the other: the names of their parameters begin with ``energy`` and
    ``noise``, by which the phases of a recipe choose them.

    Args:
        energy: ``energy(labels)`` has ``unnormalized_log_prob``.
        noise: has ``log_prob`` and ``sample``.
        tilted: whether the energy is relative to the noise, so that the model is ``log q(x) + energy``. The logit of
            noise-contrastive estimation is then the energy itself, and 0 is the noise.

    Shapes: the distribution of ``pair(labels)`` gives ``(*copies, N)`` for rows ``(N, *event)``.

    References:
        Gao et al., "Flow Contrastive Estimation of Energy-Based Models", CVPR 2020.

    Example:
        >>> class Normal(DistributionModule):
        ...     def forward(self, context=None):
        ...         return torch.distributions.Normal(torch.zeros(()), 1.0)
        >>> class Nothing(DistributionModule):
        ...     def forward(self, context=None):
        ...         return self
        ...     def unnormalized_log_prob(self, value):
        ...         return torch.zeros_like(value)
        >>> ContrastivePair(Nothing(), Normal(), tilted=True)().unnormalized_log_prob(torch.zeros(2))
        tensor([-0.9189, -0.9189])
    """

    def __init__(self, energy: DistributionModule, noise: DistributionModule, tilted: bool = False) -> None:
        super().__init__()
        self.energy, self.noise, self.tilted = energy, noise, tilted

    @property
    def conditions(self) -> int | None:
        """Number K of labels, if the energy knows of labels."""
        conditions: int | None = getattr(self.energy, "conditions", None)
        return conditions

    def extra_repr(self) -> str:
        """Whether the energy is relative to the noise."""
        return f"tilted={self.tilted}"

    def forward(self, context: Tensor | None = None) -> Distribution:
        """The model given labels ``(N,)``."""
        energy = self.energy(context)
        return TiltedDistribution(energy, self.noise()) if self.tilted else energy

    def features(self, x: Tensor) -> Tensor:
        """Features of rows: those of the energy, ``(*copies, N, m)``."""
        energy: Any = self.energy
        features: Tensor = energy.features(x)
        return features

    def log_potentials(self, x: Tensor) -> Tensor:
        """``u(x, y)`` for every label, ``(*copies, N, K)``, in nats."""
        energy: Any = self.energy
        potentials: Tensor = energy.log_potentials(x)
        return potentials + self.noise().log_prob(x).unsqueeze(-1) if self.tilted else potentials

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set what depends on data in both parts, such as activation normalisation, from rows ``(N, *event)``."""
        parts: tuple[Any, ...] = (self.noise, self.energy)
        for part in parts:
            if hasattr(part, "initialize"):
                part.initialize(x)


class TiltedDistribution(UnnormalizedDistribution):
    """``log p(x) = log q(x) + energy(x) - log Z``: a distribution q, tilted by an energy.

    Args:
        energy: has ``unnormalized_log_prob``.
        noise: q.
    """

    def __init__(self, energy: Any, noise: Distribution) -> None:
        self.energy, self.noise = energy, noise
        batch = getattr(energy, "batch_shape", torch.Size())
        super().__init__(torch.Size(batch), noise.event_shape, validate_args=False)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """``log q(value) + energy(value)``, in nats."""
        tilt: Tensor = self.energy.unnormalized_log_prob(value)
        return self.noise.log_prob(value) + tilt
