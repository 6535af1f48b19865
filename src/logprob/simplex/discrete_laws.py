"""Laws of a count, described by a finite vector of probabilities: targets of :func:`~logprob.simplex.approximate`.

A law on infinitely many values is cut where the first ``categories`` end. What lies beyond, its tail, is reported and
the rest is normalised. Category k stands for the value k.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

TAIL = 1e-9


@dataclass(frozen=True, eq=False)
class DiscreteLaw:
    """Probabilities of the values 0, 1, ..., K - 1.

    Args:
        name: for people.
        probs: shape ``(K,)``, K >= 2, of sum 1; kept in float64 on the CPU.
        tail: probability of all larger values, which ``probs`` leaves out.

    Raises:
        ValueError: if ``probs`` is no law, or ``tail`` not in [0, 1).

    Example:
        >>> DiscreteLaw("coin", [0.5, 0.5])
        DiscreteLaw(coin, 2 categories)
    """

    name: str
    probs: Tensor = field(repr=False)
    tail: float = 0.0

    def __post_init__(self) -> None:
        probs = torch.as_tensor(self.probs, dtype=torch.float64, device="cpu").detach()
        if probs.dim() != 1 or len(probs) < 2:
            raise ValueError(f"expected probs of shape (K,) with K >= 2, got {tuple(probs.shape)}")
        if not (probs.min() >= 0 and abs(probs.sum().item() - 1) < 1e-6):
            raise ValueError(f"expected probs >= 0 of sum 1, got a minimum of {probs.min()} and a sum of {probs.sum()}")
        if not 0 <= self.tail < 1:
            raise ValueError(f"expected a tail in [0, 1), got {self.tail}")
        object.__setattr__(self, "probs", probs / probs.sum())

    @property
    def categories(self) -> int:
        """K."""
        return len(self.probs)

    def __repr__(self) -> str:
        tail = f", tail {self.tail:.1e}" if self.tail else ""
        return f"DiscreteLaw({self.name}, {self.categories} categories{tail})"


def uniform(categories: int) -> DiscreteLaw:
    """Equal probabilities."""
    return DiscreteLaw(f"uniform({categories})", torch.full((categories,), 1 / max(1, categories), dtype=torch.float64))


def uniform_mix() -> DiscreteLaw:
    """Mass .9 on 0 to 10 and .1 on 11 to 25, evenly in each."""
    return DiscreteLaw("uniform mix", torch.tensor([0.9 / 11] * 11 + [0.1 / 15] * 15, dtype=torch.float64))


def discrete10() -> DiscreteLaw:
    """Ten categories of which two neighbours differ by up to ten times."""
    return DiscreteLaw("discrete10", torch.tensor([10, 1, 5, 1, 10, 10, 1, 6, 1, 1]).double() / 46)


def poisson(mean: float, categories: int | None = None) -> DiscreteLaw:
    """Poisson law.

    Args:
        mean: > 0.
        categories: K; as many as leave a tail below 1e-9 if omitted. So for the other laws without a largest value.

    Example:
        >>> poisson(50.0, 100)
        DiscreteLaw(Poisson(50.0), 100 categories, tail 3.2e-10)
    """
    return _cut(f"Poisson({mean})", stats.poisson(mean), categories)


def binomial(trials: int, success: float) -> DiscreteLaw:
    """Number of successes, ``trials + 1`` categories: all of them may succeed."""
    return _cut(f"binomial({trials}, {success})", stats.binom(trials, success), trials + 1)


def geometric(success: float, categories: int | None = None) -> DiscreteLaw:
    """Number of failures before the first success, ``p (1 - p)^k`` for k = 0, 1, ..."""
    return _cut(f"geometric({success})", stats.geom(success, loc=-1), categories)


def negative_binomial(successes: float, success: float, categories: int | None = None) -> DiscreteLaw:
    """Number of failures before so many successes of the given probability."""
    return _cut(f"negative binomial({successes}, {success})", stats.nbinom(successes, success), categories)


def hypergeometric(population: int, marked: int, draws: int) -> DiscreteLaw:
    """Number of marked items among ``draws`` without replacement, ``min(marked, draws) + 1`` categories."""
    law = stats.hypergeom(population, marked, draws)
    return _cut(f"hypergeometric({population}, {marked}, {draws})", law, min(marked, draws) + 1)


def vector(probs: Any, name: str = "vector") -> DiscreteLaw:
    """Any probabilities, normalised.

    Args:
        probs: weights >= 0, of a finite and positive sum.
        name: for people.
    """
    weights = torch.as_tensor(probs, dtype=torch.float64)
    return DiscreteLaw(name, weights / weights.sum())


def _cut(name: str, law: Any, categories: int | None) -> DiscreteLaw:
    if not np.isfinite(law.mean()):
        raise ValueError(f"expected parameters of a law, got {name}")
    count = int(law.isf(TAIL)) + 1 if categories is None else categories
    probs = torch.from_numpy(law.pmf(np.arange(max(count, 2))))
    tail = float(law.sf(len(probs) - 1))
    if not tail < 1:
        raise ValueError(f"expected categories that have some mass, got {categories} of {name}")
    return DiscreteLaw(name, probs / probs.sum(), tail)
