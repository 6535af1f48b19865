"""The Gaussian numbers behind a stick that is broken as often as needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.simplex.gaussian_kl import gaussian_kl
from logprob.simplex.settings import computing_dtype
from logprob.simplex.truncation import Truncation

_BLOCK = 16  # sticks drawn at once, whatever the maximum: the same seed gives the same sticks


@dataclass(frozen=True)
class StickTail:
    """The law of the sticks beyond those that have parameters of their own.

    Args:
        sticks: how many more may be drawn.
        loc: mean of the Gaussian number of each.
        scale: its standard deviation, > 0.

    Raises:
        ValueError: if a number is out of its range.
    """

    sticks: int
    loc: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.sticks < 0 or not self.scale > 0:
            raise ValueError(f"expected sticks >= 0 and scale > 0, got {self.sticks} and {self.scale}")


class StickNoise:
    """Independent ``y_k ~ N(loc_k, exp(log_scale_k)^2)``: M with parameters, then those of the tail.

    Args:
        loc: means, ``(..., M)``.
        log_scale: logarithms of the standard deviations, same shape.
        tail: the others.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, tail: StickTail) -> None:
        self.loc, self.log_scale, self.tail = loc, log_scale, tail
        self.dtype = computing_dtype(loc.dtype)

    @property
    def most(self) -> int:
        """How many there are."""
        return self.loc.shape[-1] + self.tail.sticks

    def numbers(self, count: int) -> tuple[Tensor, Tensor]:
        """Means and log-scales of the first ones, ``(..., count)``, in the precision of the computation."""
        own = min(count, self.loc.shape[-1])
        loc, log_scale = self.loc[..., :own].to(self.dtype), self.log_scale[..., :own].to(self.dtype)
        if own == count:
            return loc, log_scale
        beyond = (0, count - own)
        return F.pad(loc, beyond, value=self.tail.loc), F.pad(log_scale, beyond, value=math.log(self.tail.scale))

    def draw(self, sample_shape: Any, truncation: Truncation) -> Tensor:
        """Standard normal noise, ``sample_shape + (..., n)``, of so many sticks that every sample has enough."""
        shape = (*sample_shape, *self.loc.shape[:-1], _BLOCK)
        blocks: list[Tensor] = []
        with torch.no_grad():
            rest = torch.ones((), dtype=self.dtype, device=self.loc.device)
            for start in range(0, self.most, _BLOCK):
                loc, log_scale = self._block(start)
                # A whole block even where fewer are wanted, or the maximum would change the numbers.
                blocks.append(torch.randn(shape, dtype=self.dtype, device=self.loc.device)[..., : loc.shape[-1]])
                rest = rest * torch.sigmoid(-torch.addcmul(loc, log_scale.exp(), blocks[-1])).prod(-1)
                if truncation.enough(rest):
                    break
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks, -1)

    def _block(self, start: int) -> tuple[Tensor, Tensor]:
        stop = min(start + _BLOCK, self.most)
        loc, log_scale = self.numbers(stop)
        return loc[..., start:], log_scale[..., start:]

    def value(self, noise: Tensor) -> Tensor:
        """``y = loc + scale * noise`` of as many sticks as there is noise for."""
        loc, log_scale = self.numbers(noise.shape[-1])
        return torch.addcmul(loc, log_scale.exp(), noise)

    def log_densities(self, y: Tensor) -> Tensor:
        """Log-density of each number, in nats, of the shape of ``y``."""
        loc, log_scale = self.numbers(y.shape[-1])
        return -0.5 * ((y - loc) * (-log_scale).exp()).square() - log_scale - 0.5 * math.log(2 * math.pi)

    def kl(self, other: StickNoise) -> Tensor:
        """Divergence from as many numbers of another law, in closed form, in nats."""
        own = max(self.loc.shape[-1], other.loc.shape[-1])
        kl = gaussian_kl(*self.numbers(own), *other.numbers(own))
        q, p, beyond = self.tail, other.tail, self.most - own
        if not beyond or (q.loc, q.scale) == (p.loc, p.scale):
            return kl
        numbers = (q.loc, math.log(q.scale), p.loc, math.log(p.scale))
        return kl + beyond * gaussian_kl(*(kl.new_tensor([number]) for number in numbers))

    def expand(self, batch_shape: torch.Size) -> StickNoise:
        """The same with a batch shape; nothing is copied."""
        return StickNoise(self.loc.expand(*batch_shape, -1), self.log_scale.expand(*batch_shape, -1), self.tail)

    def detach(self) -> StickNoise:
        """The same without gradients to its parameters."""
        return StickNoise(self.loc.detach(), self.log_scale.detach(), self.tail)
