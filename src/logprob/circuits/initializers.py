"""Distributions of initial weights and coefficients, as linear values; a monotonic circuit stores their logarithms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Initializer(ABC):
    """A law of initial values."""

    signed: bool = False
    """Whether it can draw negative values; a circuit of positive weights refuses those."""

    @abstractmethod
    def __call__(self, *shape: int) -> Tensor:
        """Draw a tensor of ``shape`` from torch's global generator."""


@dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform on ``(0, scale)``: the default; squared circuits train far better from it than from signed draws."""

    scale: float = 1.0

    def __call__(self, *shape: int) -> Tensor:
        """Draw a tensor of ``shape``."""
        return torch.rand(*shape).clamp_(min=torch.finfo(torch.float32).tiny) * self.scale


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal with mean ``loc`` and standard deviation ``scale``."""

    scale: float = 1.0
    loc: float = 0.0
    signed = True

    def __call__(self, *shape: int) -> Tensor:
        """Draw a tensor of ``shape``."""
        return torch.randn(*shape) * self.scale + self.loc


@dataclass(frozen=True)
class LogNormal(Initializer):
    """Exponential of a normal with standard deviation ``scale``."""

    scale: float = 1.0

    def __call__(self, *shape: int) -> Tensor:
        """Draw a tensor of ``shape``."""
        return (torch.randn(*shape) * self.scale).exp()


@dataclass(frozen=True)
class Dirichlet(Initializer):
    """Rows of the last axis from a symmetric Dirichlet of the given concentration; they sum to one."""

    concentration: float = 1.0

    def __call__(self, *shape: int) -> Tensor:
        """Draw a tensor of ``shape``."""
        law = torch.distributions.Dirichlet(torch.full(shape[-1:], self.concentration))
        return law.sample(torch.Size(shape[:-1])).clamp_(min=torch.finfo(torch.float32).tiny)
