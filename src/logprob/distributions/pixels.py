"""Likelihoods of an image whose parameters a network gives."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


class PixelLikelihood(ABC):
    """Independent variables given a network's outputs: ``likelihood(raw, x) = sum_d log p(x_d | raw_d)``.

    ``raw`` has shape ``(..., P D)`` for rows ``x`` of shape ``(..., D)``: the first parameter of all variables, then
    the second one, and so on.

    Attributes:
        parameters: the number P of parameters of a variable.
    """

    parameters: int

    @abstractmethod
    def __call__(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of rows in nats, the leading shape of ``raw`` broadcast with that of ``x``."""

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless all values of rows are in [0, 1]: both likelihoods have means there."""
        low, high = (value.item() for value in x.aminmax())
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"{type(self).__name__} expects values in [0, 1], got {low:g} to {high:g}; put BinaryImages or "
                "ScaledImages around the data"
            )

    @abstractmethod
    def mean(self, raw: Tensor) -> Tensor:
        """Means, ``(..., D)``."""

    @abstractmethod
    def sample(self, raw: Tensor) -> Tensor:
        """Draws, ``(..., D)``."""


@dataclass(frozen=True)
class BernoulliPixels(PixelLikelihood):
    """Bernoulli variables with logits ``raw``: ``x raw - softplus(raw)``.

    Values strictly between 0 and 1 are taken as they are, as in a cross-entropy; the result is then no
    log-probability of anything, which concerns whoever compares numbers.

    Example:
        >>> BernoulliPixels()(torch.zeros(3, 4), torch.ones(3, 4))
        tensor([-2.7726, -2.7726, -2.7726])
    """

    parameters = 1

    def __call__(self, raw: Tensor, x: Tensor) -> Tensor:
        """``sum_d x_d raw_d - softplus(raw_d)``."""
        return (x * raw - F.softplus(raw)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """``sigmoid(raw)``."""
        return torch.sigmoid(raw)

    def sample(self, raw: Tensor) -> Tensor:
        """Zeros and ones."""
        return torch.bernoulli(torch.sigmoid(raw))


@dataclass(frozen=True)
class GaussianPixels(PixelLikelihood):
    """Gaussian variables with mean ``sigmoid(raw_1)`` and standard deviation ``floor + softplus(raw_2)``.

    A density: on grey images it grows without bound as the deviation shrinks, down to ``floor``.

    Args:
        floor: smallest standard deviation, > 0.

    Raises:
        ValueError: if ``floor`` is not positive.

    Example:
        >>> GaussianPixels()(torch.zeros(3, 8), torch.full((3, 4), 0.5)).shape
        torch.Size([3])
    """

    floor: float = 1e-6
    parameters = 2

    def __post_init__(self) -> None:
        if not self.floor > 0:
            raise ValueError(f"floor must be positive, got {self.floor}")

    def __call__(self, raw: Tensor, x: Tensor) -> Tensor:
        """``sum_d log N(x_d; mean_d, std_d^2)``."""
        mean, std = self._moments(raw)
        return (-0.5 * ((x - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """``sigmoid`` of the first half."""
        return self._moments(raw)[0]

    def sample(self, raw: Tensor) -> Tensor:
        """Draws; not confined to [0, 1]."""
        mean, std = self._moments(raw)
        return torch.normal(mean, std)

    def _moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = raw.chunk(2, dim=-1)
        return torch.sigmoid(mean), self.floor + F.softplus(std)
