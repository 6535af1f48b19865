"""How far the category of a relaxed law is from a target, and how well that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.distributions import IntractableError
from logprob.simplex.relaxed import RelaxedOneHot


class CategoryProbs(NamedTuple):
    """Probabilities ``(K,)`` of the categories, and the draws of which they are frequencies: 0 if they are exact."""

    probs: Tensor
    samples: int


@dataclass(frozen=True, eq=False)
class Certificate:
    """What an approximation reached.

    Args:
        total_variation: ``sum_k |P(k) - p(k)| / 2`` between the law of the category and the target, from 0 to 1.
        samples: draws of which P are the frequencies; 0 if P is known by quadrature or in closed form.
        floor: what ``total_variation`` would be on average if P were p exactly: what so many draws cannot resolve.
        tail: mass that the target itself left out. From the law without that cut, the total variation is at most
            ``total_variation + tail``.
        losses: of each step of gradient descent; empty if there was none.
        start: P at the start, ``(K,)``.
        probs: P at the end, ``(K,)``.
        target: p, ``(K,)``.
    """

    total_variation: float
    samples: int
    floor: float
    tail: float
    losses: tuple[float, ...] = field(repr=False)
    start: Tensor = field(repr=False)
    probs: Tensor = field(repr=False)
    target: Tensor = field(repr=False)

    @property
    def analytic(self) -> bool:
        """Whether the total variation is exact up to quadrature, and not estimated from draws."""
        return self.samples == 0

    @property
    def steps(self) -> int:
        """Steps of gradient descent."""
        return len(self.losses)

    def __str__(self) -> str:
        how = "analytic" if self.analytic else f"{self.samples} draws, floor {self.floor:.1e}"
        tail = f", tail {self.tail:.1e}" if self.tail else ""
        return f"TV {self.total_variation:.1e} ({how}){tail}"


def category_probs(law: RelaxedOneHot, samples: int) -> CategoryProbs:
    """Exact probabilities of the categories of a law without batch where it has them, else frequencies of draws."""
    try:
        return CategoryProbs(law.probs.detach().double().cpu(), 0)
    except IntractableError:
        return CategoryProbs(category_frequencies(law, samples), samples)


@torch.no_grad()
def category_frequencies(law: RelaxedOneHot, samples: int) -> Tensor:
    """Share of ``samples`` draws of each category, ``(K,)``, on the CPU in float64."""
    counts, size = torch.zeros(law.event_shape[0], dtype=torch.float64), 10_000
    for first in range(0, samples, size):
        draws = law.sample(torch.Size((min(size, samples - first),))).argmax(-1)
        counts += draws.cpu().bincount(minlength=len(counts))
    return counts / samples


def total_variation(p: Tensor, q: Tensor) -> Tensor:
    """``sum_k |p_k - q_k| / 2``; the shorter one has no mass on the categories that it lacks.

    Example:
        >>> total_variation(torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.25, 0.25]))
        tensor(0.2500)
    """
    size = max(p.shape[-1], q.shape[-1])
    p, q = (F.pad(x, (0, size - x.shape[-1])) for x in (p, q))
    return (p - q).abs().sum(-1) / 2


def sampling_floor(probs: Tensor, samples: int) -> float:
    """Mean total variation between a law and the frequencies of its own draws.

    A frequency deviates by ``sqrt(2 p (1 - p) / (pi n))`` on average if ``n p`` is large, and by at most ``2 p``.
    """
    if samples == 0:
        return 0.0
    deviation = (2 * probs * (1 - probs) / (math.pi * samples)).sqrt()
    return torch.minimum(deviation, 2 * probs).sum().item() / 2
