"""How far a mean correlation would move, had there been other rows or other seeds: bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from logprob.metrics.correlation import RandomSource, average_ranks, generator_of, unit_columns
from logprob.metrics.permutation_null import group_numbers


@dataclass(frozen=True, repr=False)
class Interval:
    """A percentile interval of the bootstrap.

    Args:
        estimate: the number that it is about.
        low: lower end.
        high: upper end.
        level: probability that the interval is to cover, in 0 to 1.
    """

    estimate: float
    low: float
    high: float
    level: float

    def __repr__(self) -> str:
        return f"{100 * self.level:g} % interval {self.low:.4f} to {self.high:.4f}"


def seed_interval(
    scores: Sequence[float] | Tensor, *, level: float = 0.95, resamples: int = 10_000, generator: RandomSource = None
) -> Interval:
    """Bootstrap interval of the mean score over seeds: what other trainings would have given.

    Draws as many scores as there are, with replacement, and takes quantiles of their means.

    Args:
        scores: one a training, at least 2.
        level: probability that the interval is to cover.
        resamples: number of draws.
        generator: of the draws; a generator on the CPU, a seed, or None for torch's own.

    Raises:
        ValueError: if there are fewer than 2 scores or one is not finite, or level or resamples is out of range.

    Note: It is somewhat too narrow for few seeds: with n of them its width lacks a factor of about
        ``sqrt(n / (n - 1))``, and it never leaves the range of the scores.

    Example:
        >>> seed_interval([0.98, 0.99, 0.82, 0.98, 0.985], generator=0)
        95 % interval 0.88... to 0.98...
    """
    given = torch.as_tensor(scores, dtype=torch.float64).detach().cpu().flatten()
    if len(given) < 2 or not given.isfinite().all():
        raise ValueError(f"expected at least 2 finite scores, got {given.tolist()}")
    _check(level, resamples)
    draws = torch.randint(len(given), (resamples, len(given)), generator=generator_of(generator))
    return _percentiles(given.mean().item(), given[draws].mean(-1), level)


def matched_interval(
    s: Tensor,
    z: Tensor,
    ranked: bool,
    groups: Any = None,
    resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Interval:
    """Bootstrap interval, over rows, of the mean correlation of matched pairs, each with the sign that it has.

    Args:
        s: matched sources as rows, ``(m, N)``.
        z: matched features as rows, ``(m, N)``.
        ranked: whether to correlate ranks, made anew for every draw.
        groups: if given, label of each row, ``(N,)``; as many rows are drawn of each group as it has.
        resamples: number of draws.
        level: probability that the interval is to cover.
        generator: of the draws.

    Raises:
        ValueError: if level or resamples is out of range, or there is not one group for each row.
    """
    _check(level, resamples)
    labels = torch.zeros(s.shape[-1], dtype=torch.int64) if groups is None else group_numbers(groups, s.shape[-1])
    sizes = labels.bincount()
    order, starts = labels.argsort(stable=True), sizes.cumsum(0) - sizes
    found = _correlations(s, z, ranked)
    means = []
    for _ in range(resamples):
        place = (torch.rand(len(labels), dtype=torch.float64, generator=generator) * sizes[labels]).long()
        rows = order[starts[labels] + place]
        means.append((_correlations(s[:, rows], z[:, rows], ranked) * found.sign()).mean())
    return _percentiles(found.abs().mean().item(), torch.stack(means), level)


def _correlations(s: Tensor, z: Tensor, ranked: bool) -> Tensor:
    s, z = (average_ranks(x) if ranked else x for x in (s, z))
    return (unit_columns(s) * unit_columns(z)).sum(-1)


def _check(level: float, resamples: int) -> None:
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"expected level in (0, 1) and resamples from 1, got {level} and {resamples}")


def _percentiles(estimate: float, draws: Tensor, level: float) -> Interval:
    low, high = (draws.quantile(q).item() for q in ((1 - level) / 2, (1 + level) / 2))
    return Interval(estimate, low, high, level)
