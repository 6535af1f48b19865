"""Laws of the units of a stochastic layer: binary variables, relaxed, with one number each from the layer below."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from logprob.simplex.concrete import Concrete
from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.planar import PlanarLayers
from logprob.simplex.relaxed import RelaxedOneHot
from logprob.simplex.stick_breaking import StickBreaking


class BinaryUnits(nn.Module, ABC):
    """The law of a layer of units: a number each gives a relaxed one-hot vector of two categories each.

    The first category stands for the value 1, the second for -1; :func:`unit_values` reads a sample.

    Args:
        units: number U of units.
        temperature: of the relaxation, > 0.

    Raises:
        ValueError: if ``units`` is below 1 or ``temperature`` not positive.
    """

    def __init__(self, units: int, temperature: float = 1.0) -> None:
        super().__init__()
        if units < 1:
            raise ValueError(f"units must be at least 1, got {units}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.units, self.temperature = units, temperature

    @abstractmethod
    def forward(self, numbers: Tensor) -> RelaxedOneHot:
        """The law of the units, of batch shape ``(..., U)``, for numbers of that shape."""

    def extra_repr(self) -> str:
        """Their number and temperature."""
        return f"{self.units}, temperature={self.temperature:g}"


class ConcreteUnits(BinaryUnits):
    """Binary Concrete (Gumbel-Softmax) units: ``psi = sigmoid((number + logit U) / temperature)``, U uniform.

    Example:
        >>> ConcreteUnits(3)(torch.zeros(5, 3)).probs[0, 0]
        tensor([0.5000, 0.5000])
    """

    def forward(self, numbers: Tensor) -> Concrete:
        """``number`` is the logit of the value 1."""
        logits = torch.stack([numbers, torch.zeros_like(numbers)], dim=-1)
        return Concrete(self.temperature, logits, validate_args=False)


class GaussianUnits(BinaryUnits):
    """Invertible Gaussian units of scale 1 (IGR-I): ``psi = sigmoid((number + eps) / temperature)``.

    The value 1 has probability ``Phi(number)``. Breaking a stick once in logarithms gives the same law: with
    :class:`~logprob.simplex.stick_breaking.LogStickBreaking` the logit of one stick is the noise itself.

    Example:
        >>> GaussianUnits(3)(torch.zeros(5, 3)).sample().shape
        torch.Size([5, 3, 2])
    """

    def forward(self, numbers: Tensor) -> InvertibleGaussian:
        """``number`` is the mean of the noise."""
        return _gaussian(numbers, self.temperature)


class PlanarUnits(BinaryUnits):
    """Invertible Gaussian units whose noise passes a planar flow of one dimension, one a unit (IGR-Planar).

    Such a flow is monotone: it bends the noise, and moves the threshold at which a unit is 1.

    Args:
        units: number U of units.
        temperature: of the relaxation, > 0.
        layers: planar layers.

    Example:
        >>> PlanarUnits(3)(torch.zeros(5, 3)).sample().shape
        torch.Size([5, 3, 2])
    """

    def __init__(self, units: int, temperature: float = 1.0, layers: int = 2) -> None:
        super().__init__(units, temperature)
        self.flow = PlanarLayers(layers, (units, 1))

    def forward(self, numbers: Tensor) -> InvertibleGaussian:
        """``number`` is the mean of the noise, before the flow."""
        return _gaussian(numbers, self.temperature, self.flow())


class StickUnits(BinaryUnits):
    """Invertible Gaussian units by breaking a stick once (IGR-SB): ``psi = sigmoid((v - 1/2) / temperature)``.

    ``v = sigmoid(number + eps)`` is the stick. It lies in (0, 1), so as a logit beside a constant 0 (softmax++ with
    ``delta = 1``) it would win always, and a unit could only be 1. Here ``delta = exp(1 / (2 temperature))``: the
    constant logit is 1/2, and a unit is 1 if and only if the stick is broken in its upper half, with probability
    ``Phi(number)``. The relaxed values ``2 psi - 1`` stay within ``+-tanh(1 / (4 temperature))``, .24 at temperature
    1 and .93 at .15: a high temperature trains units unlike the rounded ones.

    Args:
        units: number U of units.
        temperature: of the relaxation, at least .006.

    Raises:
        ValueError: if ``units`` is below 1, or ``temperature`` so low that ``delta`` is no number in single precision.

    Example:
        >>> StickUnits(3, temperature=0.15)(torch.zeros(5, 3)).sample().shape
        torch.Size([5, 3, 2])
    """

    def __init__(self, units: int, temperature: float = 1.0) -> None:
        super().__init__(units, temperature)
        if temperature < 0.006:  # exp(1 / .012) = 1.5e36
            raise ValueError(f"temperature of sticks must be at least 0.006, got {temperature}")

    def forward(self, numbers: Tensor) -> InvertibleGaussian:
        """``number`` is the mean of the noise, before the stick."""
        return _gaussian(numbers, self.temperature, StickBreaking(), delta=math.exp(0.5 / self.temperature))


def unit_values(relaxed: Tensor) -> Tensor:
    """Values in [-1, 1] of vectors of the simplex, ``2 psi_1 - 1``; -1 or 1 of one-hot vectors.

    Args:
        relaxed: ``(..., 2)``.

    Example:
        >>> unit_values(torch.tensor([[1.0, 0.0], [0.25, 0.75]]))
        tensor([ 1.0000, -0.5000])
    """
    return 2 * relaxed[..., 0] - 1


def _gaussian(numbers: Tensor, temperature: float, transform: Any = None, delta: float = 1.0) -> InvertibleGaussian:
    loc = numbers.unsqueeze(-1)
    return InvertibleGaussian(loc, torch.zeros_like(loc), temperature, delta, transform, validate_args=False)
