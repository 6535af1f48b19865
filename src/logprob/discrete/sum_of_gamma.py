"""Noise of which k numbers sum to a Gumbel: the right size for structures with k ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from logprob.discrete.noise import EULER, Device, Generator, Gumbel, Noise, standard_gumbel
from logprob.distributions import IntractableError

_POINTS = 4096  # of a table: linear interpolation is then off by at most 4e-6 of a standard deviation
_FIRST, _LAST = -3.25, 20.5  # Gumbel variates of a table; all but 6e-12 on the left and 1e-9 on the right
_PERIOD = 40.0  # of the inverted Fourier series, much wider than any law of k >= 1
_LEFT = -4.0  # where that period begins: below it the mass is less than 1e-20


@dataclass(frozen=True)
class SumOfGamma(Noise):
    """Sum-of-Gamma noise: the sum of k independent numbers is a standard Gumbel.

    A number is ``X = (1 / k) (sum_i G_i - log s)`` in the limit of many terms s, with ``G_i`` of a Gamma law of shape
    ``1 / k`` and scale ``k / i``. Its characteristic function is ``Gamma(1 - i t)^(1 / k)``, its mean ``0.577 / k``
    and its standard deviation that of a Gumbel over ``sqrt(k)``: temperatures of different k, and of a Gumbel, are not
    comparable.

    The limit law is drawn as ``X = T_k(g)`` of one Gumbel g, with the increasing map ``T_k`` from a table; that costs
    little more than g. The table is made once for each k, in 20 ms for k below 256. The sum of finitely many Gamma
    variables, which published experiments used, is never below ``-log(s) / k``, and ties there are common.

    Args:
        k: how many numbers sum to a Gumbel, at least 1, mostly the number of ones in an answer; need not be whole.
        method: ``"limit"``, or ``"gamma"`` for the sum of ``terms`` Gamma variables.
        terms: s, at least 1; not used by the limit.

    Raises:
        ValueError: if a number is out of its range or the method unknown.

    References:
        Niepert, Minervini and Franceschi, "Implicit MLE: Backpropagating Through Discrete Exponential Family
        Distributions", NeurIPS 2021; Gil-Pelaez, "Note on the inversion theorem", Biometrika 1951.

    Example:
        >>> noise = SumOfGamma(k=5).sample((100_000, 5), generator=torch.Generator().manual_seed(0))
        >>> (noise.sum(-1).mean() - Gumbel().mean).abs() < 0.01
        tensor(True)
    """

    k: float
    method: Literal["limit", "gamma"] = "limit"
    terms: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.k < math.inf or self.terms < 1:
            raise ValueError(f"expected a finite k >= 1 and terms >= 1, got {self.k} and {self.terms}")
        if self.method not in ("limit", "gamma"):
            raise ValueError(f"method must be limit or gamma, got {self.method!r}")

    @property
    def mean(self) -> float:
        """``0.577 / k`` in the limit, ``(H_s - log s) / k`` for s terms with the harmonic number ``H_s``."""
        total = EULER if self.method == "limit" else math.fsum(1 / i for i in self._counts) - math.log(self.terms)
        return total / self.k

    @property
    def std(self) -> float:
        """``pi / sqrt(6 k)`` in the limit, ``sqrt(sum_i i^-2 / k)`` for s terms."""
        variance = math.pi**2 / 6 if self.method == "limit" else math.fsum(1 / i**2 for i in self._counts)
        return math.sqrt(variance / self.k)

    def _draw(self, shape: torch.Size, generator: Generator, dtype: torch.dtype, device: Device) -> Tensor:
        if self.method == "limit":
            gumbel = standard_gumbel(shape, generator, dtype, device)
            return gumbel if self.k == 1 else _interpolate(gumbel, _table(self.k, dtype, gumbel.device))
        alpha = torch.full(shape, 1 / self.k, dtype=dtype, device=device)
        terms = (torch._standard_gamma(alpha, generator) / i for i in self._counts)
        return sum(terms, torch.full_like(alpha, -math.log(self.terms) / self.k))

    @property
    def _counts(self) -> range:
        return range(1, self.terms + 1)

    def log_prob(self, noise: Tensor) -> Tensor:
        """That of a Gumbel for k = 1 in the limit; else not in closed form."""
        return self._gumbel().log_prob(noise)

    def score(self, noise: Tensor) -> Tensor:
        """That of a Gumbel for k = 1 in the limit; else not in closed form."""
        return self._gumbel().score(noise)

    def _gumbel(self) -> Gumbel:
        if self.k != 1 or self.method != "limit":
            raise IntractableError(
                f"{self} has no density in closed form; a gradient that needs one wants Gumbel noise"
            )
        return Gumbel()


def _interpolate(x: Tensor, table: Tensor) -> Tensor:
    """The piecewise linear map of equidistant values, whose last pieces go on for ever."""
    place = (x - _FIRST) * ((_POINTS - 1) / (_LAST - _FIRST))
    cell = place.floor().clamp(0, _POINTS - 2)
    low = cell.long()
    return torch.lerp(table[low], table[low + 1], place - cell)


@torch.compiler.assume_constant_result
def _table(k: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`_increasing_map` as a tensor, made anew: one that a transform of functions has wrapped would outlive it."""
    return torch.from_numpy(_increasing_map(k)).to(device, dtype)


@lru_cache(maxsize=64)
def _increasing_map(k: float) -> NDArray[Any]:
    """``T_k`` at equidistant Gumbel variates, in float64.

    Outside the grid it is as good as straight: ``T_k(g)`` approaches ``(g - log k) / k`` on the left, and has slope 1
    on the right.
    """
    x, probability = _distribution_function(k)
    inside = (probability > 1e-12) & (probability < 1 - 1e-9)  # elsewhere rounding would show
    gumbel = -np.log(-np.log(np.maximum.accumulate(probability[inside])))
    return np.interp(np.linspace(_FIRST, _LAST, _POINTS), gumbel, x[inside])


def _distribution_function(k: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Points x and ``P(X <= x) = 1/2 - (1 / pi) integral_0^inf Im(exp(-i t x) phi(t)) / t dt``.

    The midpoint rule of step ``h = 2 pi / period`` is exact but for what is left of the law a period away. Its sum at
    ``x_j = left + j period / N`` is a discrete Fourier transform. The integrand falls as ``exp(-pi t / 2 k)``.
    """
    from scipy.special import loggamma  # only here: most programs need no table

    count = 1 << math.ceil(math.log2(max(2**18, 1024 * k)))  # points closer than 0.04 / k, the scale of the left end
    h = 2 * math.pi / _PERIOD
    t = (np.arange(int(80 * k / math.pi / h)) + 0.5) * h
    terms = np.exp(loggamma(1 - 1j * t) / k - 1j * t * _LEFT) / t
    j = np.arange(count)
    total = np.fft.fft(terms, count) * np.exp(-1j * math.pi * j / count)  # the half in t
    return _LEFT + j * (_PERIOD / count), 0.5 - h / math.pi * total.imag
