"""How much a finite difference changes, and how much a law's own samples do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.linalg import vector_norm

from logprob.discrete.rows import as_rows
from logprob.discrete.steps import Outcome

Measure = Literal["per_sample", "averaged", "turnover"]

_ROUNDING = 1e-12  # of a mean of differences that cancel


def per_sample(outcome: Outcome, average: int) -> Tensor:
    """Mean number of coordinates that a difference changes, ``(N,)``; of means over ``average`` samples, if not 1.

    Raises:
        ValueError: if ``average`` does not divide the number of samples.
    """
    if average == 1:
        return outcome.changed.mean(0)
    samples = outcome.difference.shape[0]
    if samples % average:
        raise ValueError(f"expected a number of samples that {average} divides, got {samples}")
    means = outcome.difference.unflatten(0, (-1, average)).mean(1)
    return (means.abs() > _ROUNDING).sum(-1).to(means.dtype).mean(0)


def averaged(outcome: Outcome, average: int) -> Tensor:
    """Number of coordinates in which the mean over all samples changes, ``(N,)``."""
    return per_sample(outcome, outcome.difference.shape[0])


def turnover(outcome: Outcome, average: int) -> Tensor:
    """Share of the ones that change, ``|left - right|_1 / (|left|_1 + |right|_1)``, in [0, 1], ``(N,)``."""
    changed, left, right = (vector_norm(x, 1, (0, 2)) for x in (outcome.difference, outcome.left, outcome.right))
    return changed / (left + right).clamp(min=torch.finfo(changed.dtype).tiny)


MEASURES: dict[str, Callable[[Outcome, int], Tensor]] = {
    "per_sample": per_sample,
    "averaged": averaged,
    "turnover": turnover,
}


def own_turnover(q: Any, noise: Tensor, z: Tensor) -> Tensor:
    """In how many coordinates two independent samples of a law differ, from samples z that came of some noise.

    Returns:
        Sums over instances of that number, and of the number of coordinates that can differ: twice the ones of z, as
        far as there are so many; and the number of instances; ``(3,)``.
    """
    samples = z.shape[: z.dim() - q.scores.dim()].numel()
    rows = as_rows(z, samples, q.solver.event_dim)
    ones = rows if q.solver.binary else (rows != 0).to(rows.dtype)
    mean = ones.mean(0)
    if samples == 1:
        other = as_rows(q.solve(q.perturb(_of_neighbour(noise, rows))), 1, q.solver.event_dim)
        differ = (rows != other).sum().to(rows.dtype)
    elif q.solver.binary:
        differ = (mean - mean.square()).sum() * (2 * samples / (samples - 1))
    else:
        differ = (rows != rows.roll(1, 0)).sum() / samples
    room = (2 * mean.sum(-1)).clamp(max=rows.shape[-1])
    return torch.stack([differ, room.sum(), room.new_full((), len(room))])


def _of_neighbour(noise: Tensor, rows: Tensor) -> Tensor:
    """The noise of the instance before; of a single one its own, moved by one coordinate."""
    instances, numbers = rows.shape[1:]
    return noise.flatten().roll(numbers if instances > 1 else 1).reshape(noise.shape)
