"""Gaussian input units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from logprob.circuits import scaled, signed_log
from logprob.circuits.gram import Gram
from logprob.circuits.initializers import Initializer
from logprob.circuits.inputs import InputFamily, Tensors
from logprob.circuits.scaled import Scaled
from logprob.circuits.signed_log import SignedLog

_SMALLEST_SCALE = 1e-5


@dataclass(frozen=True)
class Gaussian(InputFamily):
    """Normal densities ``f_k(x) = N(x; loc_k, scale_k^2)`` with ``scale = exp(log_scale) + 1e-5``.

    ``int f_i f_j = N(loc_i; loc_j, scale_i^2 + scale_j^2)`` and ``int f_k = 1``.

    Args:
        log_scale_spread: standard deviation of the initial ``log_scale``; ``loc`` starts from N(0, 1), so
            standardise the data.

    References:
        Loconte et al., "Subtractive Mixture Models via Squaring", ICLR 2024.
    """

    log_scale_spread: float = 1.0

    def parameters(self, slots: int, units: int, init: Initializer) -> dict[str, Tensor]:
        """``loc`` and ``log_scale``, each ``(S, K)``."""
        return {
            "loc": torch.randn(slots, units),
            "log_scale": torch.randn(slots, units) * self.log_scale_spread,
        }

    def values(self, theta: Tensors, x: Tensor) -> Scaled:
        """Densities at ``x`` ``(S, B)``."""
        return scaled.from_log(_log_density(theta, x))

    def log_values(self, theta: Tensors, x: Tensor) -> SignedLog:
        """Densities at ``x`` by their logarithms."""
        return signed_log.from_log(_log_density({name: value.double() for name, value in theta.items()}, x.double()))

    def gram(self, theta: Tensors) -> Gram:
        """Overlaps of all pairs, already with unit diagonal in closed form."""
        loc, scale = theta["loc"], _scale(theta)
        variance = scale.square().unsqueeze(-1) + scale.square().unsqueeze(-2)  # (S, K, K)
        distance = loc.unsqueeze(-1) - loc.unsqueeze(-2)
        log_overlap = -(distance.square() / variance + variance.log() + math.log(2 * math.pi)) / 2
        log_norm = -((2 * scale.detach()).log() + math.log(math.pi) / 2) / 2
        correlation = (log_overlap - log_norm.unsqueeze(-1) - log_norm.unsqueeze(-2)).exp()
        return Gram(correlation.unsqueeze(1), log_norm.unsqueeze(1).double())

    def integral(self, theta: Tensors) -> Scaled:
        """One for every unit."""
        ones = torch.ones_like(theta["loc"]).unsqueeze(1)
        return Scaled(ones, torch.zeros(ones.shape[:2], dtype=torch.float64, device=ones.device))


def _scale(theta: Tensors) -> Tensor:
    return theta["log_scale"].exp() + _SMALLEST_SCALE


def _log_density(theta: Tensors, x: Tensor) -> Tensor:
    scale = _scale(theta).unsqueeze(1)
    half = (x.unsqueeze(-1) - theta["loc"].unsqueeze(1)) * (math.sqrt(0.5) / scale)  # (S, B, K)
    return torch.addcmul(-(scale.log() + math.log(2 * math.pi) / 2), half, half, value=-1)
