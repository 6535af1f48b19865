"""Increasing functions of one variable whose parameters a network gives: the elements of coupling flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.flows.spline import UNIT_SLOPE, packed_spline


class ElementMap(Protocol):
    """An increasing function with ``outputs`` parameters; parameters of zero make the identity."""

    @property
    def outputs(self) -> int:
        """Number of parameters of one element."""

    def __call__(self, x: Tensor, parameters: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Values and log-derivatives of elements ``(B, D)`` under parameters ``(B, outputs, D)``."""


@dataclass(frozen=True)
class ShiftMap:
    """``z = x + t``: volumes are kept.

    References:
        Dinh, Krueger and Bengio, "NICE: Non-linear Independent Components Estimation", ICLR workshop 2015.
    """

    outputs = 1

    def __call__(self, x: Tensor, parameters: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Values and log-derivatives, elementwise."""
        shift = parameters.squeeze(1)
        return x - shift if inverse else x + shift, torch.zeros_like(x)


@dataclass(frozen=True)
class AffineMap:
    """``z = x exp(s) + t`` with the bounded log-scale ``s = 2 tanh(h / 2)`` of a parameter h.

    References:
        Dinh, Sohl-Dickstein and Bengio, "Density Estimation using Real NVP", ICLR 2017.
    """

    outputs = 2

    def __call__(self, x: Tensor, parameters: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Values and log-derivatives, elementwise."""
        raw, shift = parameters.unbind(1)
        # In the type of x: the sum over features would lose digits in that of autocast.
        log_scale = (2 * torch.tanh(raw / 2)).to(x.dtype)
        if inverse:
            return (x - shift) * torch.exp(-log_scale), -log_scale
        return torch.addcmul(shift, x, log_scale.exp()), log_scale


@dataclass(frozen=True)
class SplineMap:
    """A rational-quadratic spline on ``[-bound, bound]``, the identity outside.

    Args:
        bins: number of bins K; an element takes ``3 K - 1`` parameters.
        bound: half the length of the interval.

    Raises:
        ValueError: if ``bins`` is not in 1 ... 999 or ``bound`` not positive.
    """

    bins: int = 8
    bound: float = 5.0

    def __post_init__(self) -> None:
        if not 1 <= self.bins < 1000 or not self.bound > 0:
            raise ValueError(f"expected 1 <= bins < 1000 and bound > 0, got {self.bins} and {self.bound}")

    @property
    def outputs(self) -> int:
        """``3 K - 1``."""
        return 3 * self.bins - 1

    def __call__(self, x: Tensor, parameters: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Values and log-derivatives, elementwise."""
        return packed_spline(x, parameters.transpose(0, 1), self.bound, inverse)


@dataclass(frozen=True)
class PublishedSplineMap(SplineMap):
    """The spline with its parameters squashed twice, as in experiments on identifiable energies.

    Widths (and heights) go through ``2 bound softmax`` before the softmax of :class:`SplineMap`, slopes through a
    softplus before its own. Hence no bin is wider than ``exp(2 bound)`` times another, slopes are above
    ``0.001 + log 2``, and parameters of zero do *not* make the identity: inner slopes are then 1.1. For comparisons.

    Args:
        bins: number of bins K; an element takes ``3 K - 1`` parameters.
        bound: half the length of the interval.

    Raises:
        ValueError: if ``bins`` is not in 1 ... 999 or ``bound`` not positive.

    References:
        Khemakhem, Monti, Kingma and Hyvarinen, "ICE-BeeM", NeurIPS 2020 (its code).
    """

    bins: int = 8
    bound: float = 3.0

    def __call__(self, x: Tensor, parameters: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Values and log-derivatives, elementwise."""
        widths, heights, slopes = parameters.transpose(0, 1).split([self.bins, self.bins, self.bins - 1])
        parts = [2 * self.bound * widths.softmax(0), 2 * self.bound * heights.softmax(0)]
        # The published slope is floor + softplus(softplus(d)); the kernel adds what makes a zero a slope of 1.
        packed = torch.cat([*parts, F.softplus(slopes) - UNIT_SLOPE])
        return packed_spline(x, packed, self.bound, inverse)
