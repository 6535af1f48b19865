"""Elementwise affine map of vectors: standardisation and its inverse."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from logprob.transforms.base import Transform


class Affine(Transform):
    """Elementwise ``y = loc + scale * x`` on vectors, with ``ladj = sum_d log|scale_d|``.

    Args:
        loc: shift, shape ``(D,)``.
        scale: factor, shape ``(D,)``, no entry zero.

    Raises:
        ValueError: if the shapes differ or are not ``(D,)``, or an entry of ``scale`` is zero or not finite.

    Example:
        >>> import torch
        >>> f = Affine(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 0.5]))
        >>> f.call_and_ladj(torch.ones(3, 2))
        (tensor([[3.0000, 0.5000],
                [3.0000, 0.5000],
                [3.0000, 0.5000]]), tensor([0., 0., 0.]))
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector

    def __init__(self, loc: Tensor, scale: Tensor, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        if loc.dim() != 1 or loc.shape != scale.shape:
            raise ValueError(
                f"loc and scale must both have shape (D,), got {tuple(loc.shape)} and {tuple(scale.shape)}"
            )
        if not bool(torch.isfinite(scale).all()) or bool((scale == 0).any()):
            raise ValueError("every entry of scale must be finite and not zero; drop constant columns first")
        self.loc = loc
        self.scale = scale

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``loc + scale * x`` and ``sum_d log|scale_d|`` for each row of ``x``."""
        ladj = self.scale.abs().log().sum().expand(x.shape[:-1])
        return self.loc + self.scale * x, ladj

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def parameters(self) -> tuple[Any, ...]:
        """``(loc, scale)``."""
        return (self.loc, self.scale)

    def with_cache(self, cache_size: int = 1) -> Affine:
        """The same map with torch's one-entry cache switched on or off."""
        return self if cache_size == self._cache_size else Affine(self.loc, self.scale, cache_size)
