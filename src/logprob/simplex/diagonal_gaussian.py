"""The Gaussian vector behind a law on the simplex, from its scales or from their logarithms."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from logprob.simplex.settings import check_finite, check_floating, check_positive, computing_dtype


class DiagonalGaussian:
    """Independent Gaussian coordinates ``y_k ~ N(loc_k, scale_k^2)``.

    Args:
        loc: means, ``(..., D)``.
        log_scale: natural logarithms of the standard deviations, number or tensor that broadcasts.
        scale: the standard deviations instead.

    Raises:
        ValueError: unless exactly one of ``log_scale`` and ``scale`` is given, D is positive and ``loc`` is of a
            floating type.
    """

    def __init__(self, loc: Tensor, log_scale: Any = None, scale: Any = None) -> None:
        if (log_scale is None) == (scale is None):
            raise ValueError(f"expected one of log_scale and scale, got {'neither' if scale is None else 'both'}")
        check_floating("loc", loc)
        given = torch.as_tensor(log_scale if scale is None else scale, dtype=loc.dtype, device=loc.device)
        self.loc, self.given = torch.broadcast_tensors(loc, given)
        self.logarithmic = scale is None
        if self.loc.dim() == 0 or self.loc.shape[-1] == 0:
            raise ValueError(f"expected loc of shape (..., K - 1) with K >= 2, got {tuple(self.loc.shape)}")

    def check(self) -> None:
        """Raise ValueError, naming the entry, if a parameter is not finite or a scale not positive."""
        check_finite("loc", self.loc)
        if self.logarithmic:
            check_finite("log_scale", self.given)
            check_positive("exp(log_scale)", self.computing().scale)
        else:
            check_positive("scale", self.given)

    def expand(self, batch_shape: torch.Size) -> DiagonalGaussian:
        """The same with a batch shape; nothing is copied."""
        return self.at(self.loc.expand(*batch_shape, -1), self.given.expand(*batch_shape, -1))

    def detach(self) -> DiagonalGaussian:
        """The same without gradients to its parameters."""
        return self.at(self.loc.detach(), self.given.detach())

    def at(self, loc: Tensor, given: Tensor) -> DiagonalGaussian:
        """The law of other numbers, scales being given in the same way."""
        return DiagonalGaussian(loc, given) if self.logarithmic else DiagonalGaussian(loc, scale=given)

    @property
    def scale(self) -> Tensor:
        """Standard deviations."""
        return self.given.exp() if self.logarithmic else self.given

    @property
    def log_scale(self) -> Tensor:
        """Their natural logarithms."""
        return self.given if self.logarithmic else self.given.log()

    @property
    def law(self) -> Independent:
        """The same as a distribution of torch."""
        return Independent(Normal(self.loc, self.scale, validate_args=False), 1, validate_args=False)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the computation."""
        return computing_dtype(self.loc.dtype)

    def computing(self) -> DiagonalGaussian:
        """The same in the precision of the computation."""
        return self.at(self.loc.to(self.dtype), self.given.to(self.dtype))

    def draw_noise(self, sample_shape: Any = ()) -> Tensor:
        """Standard normal noise, ``sample_shape + (..., D)``."""
        return torch.randn((*sample_shape, *self.loc.shape), dtype=self.dtype, device=self.loc.device)

    def value(self, noise: Tensor) -> Tensor:
        """``y = loc + scale * noise``."""
        law = self.computing()
        return torch.addcmul(law.loc, law.scale, noise)

    def log_prob(self, y: Tensor) -> Tensor:
        """Log-density in nats, summed over the coordinates."""
        law = self.computing()
        z = (y - law.loc) / law.scale
        return -(0.5 * z * z + law.log_scale).sum(-1) - y.shape[-1] * 0.5 * math.log(2 * math.pi)

    def entropy(self) -> Tensor:
        """Differential entropy in nats, summed over the coordinates."""
        return self.computing().log_scale.sum(-1) + self.loc.shape[-1] * 0.5 * math.log(2 * math.pi * math.e)

    def standardised(self, shift: Tensor, factor: Tensor) -> DiagonalGaussian:
        """The law of ``y / factor - shift``, by the logarithms of its scales."""
        law = self.computing()
        return DiagonalGaussian(law.loc / factor - shift, law.log_scale - factor.log())
