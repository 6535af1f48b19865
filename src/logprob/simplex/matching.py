"""Fit a relaxed law to the probabilities of a discrete one by gradient descent on the mean of samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.planar import PlanarLayers
from logprob.simplex.relaxed import RelaxedOneHot
from logprob.simplex.stick_breaking import LogStickBreaking, StickBreaking
from logprob.simplex.stick_breaking_gaussian import StickBreakingGaussian
from logprob.simplex.truncation import PerSampleTruncation
from logprob.transforms import Transform

Loss = Callable[[Tensor, Tensor], Tensor]
Schedule = Callable[[float], float]
Build = Callable[[int, float], nn.Module]

AVERAGED = 10  # losses of which the mean decides when to stop


def squared_error(mean: Tensor, target: Tensor) -> Tensor:
    """``sum_k (m_k - p_k)^2``."""
    return (mean - target).square().sum(-1)


def relative_entropy(mean: Tensor, target: Tensor) -> Tensor:
    """``KL(m || p) = sum_k m_k log(m_k / p_k)`` in nats, with ``p >= 1e-12`` so that it is finite."""
    return (torch.special.xlogy(mean, mean) - torch.special.xlogy(mean, target.clamp(min=1e-12))).sum(-1)


def constant(progress: float) -> float:
    """1."""
    return 1.0


def falling(progress: float) -> float:
    """From 1 to 0 in a straight line: the noise of the last steps averages out."""
    return 1 - progress


@dataclass(frozen=True)
class Matching:
    """How samples are matched: Adam on a loss between their mean and the target, until it is small.

    The published recipe is ``schedule=constant`` with 1000 to 10 000 samples and 100 to 1000 steps.

    Args:
        loss: of the mean sample and the target, both ``(K,)``.
        learning_rate: of Adam, at the start.
        schedule: factor of the learning rate at a share of the steps, from 0 to 1.
        samples: drawn a step.
        steps: at most.
        until: stop when the mean of the last ten losses is below it. The squared error of a perfect law is about ``1 /
            samples``, so that 1e-5 is reached from 100 000 samples on.
    """

    loss: Loss = squared_error
    learning_rate: float = 1e-2
    schedule: Schedule = falling
    samples: int = 1000
    steps: int = 1000
    until: float = 1e-5

    def __call__(self, module: nn.Module, target: Tensor) -> tuple[float, ...]:
        """Train ``module``, of which ``forward()`` gives a law, and return the losses."""
        optimizer = torch.optim.Adam(module.parameters(), self.learning_rate)
        losses: list[float] = []
        for step in range(self.steps):
            optimizer.param_groups[0]["lr"] = self.learning_rate * self.schedule(step / self.steps)
            mean = module().rsample((self.samples,)).mean(0)
            loss = self.loss(mean, F.pad(target, (0, len(mean) - len(target))).to(mean))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) >= AVERAGED and sum(losses[-AVERAGED:]) / AVERAGED < self.until:
                break
        return tuple(losses)


class FreeGaussian(nn.Module):
    """An :class:`InvertibleGaussian` with parameters of its own: location, log-scale, and those of the map.

    Args:
        loc: where the locations start, ``(K - 1,)``.
        log_scale: where the log-scales start, same shape.
        temperature: of the law.
        transform: the map, or a module that gives it.
    """

    def __init__(
        self, loc: Tensor, log_scale: Tensor, temperature: float, transform: Transform | nn.Module | None = None
    ) -> None:
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(loc), nn.Parameter(log_scale)
        self.temperature, self.transform = temperature, transform

    def forward(self) -> InvertibleGaussian:
        """The law of the present parameters."""
        map = self.transform() if isinstance(self.transform, nn.Module) else self.transform
        loc, log_scale = self.loc.clone(), self.log_scale.clone()
        return InvertibleGaussian(loc, log_scale, self.temperature, transform=map, validate_args=False)


def free_planar(categories: int, temperature: float, layers: int = 2) -> FreeGaussian:
    """Planar layers of a Gaussian that starts at ``loc = log_scale = 0``; the layers' parameters are fitted, too."""
    zeros = torch.zeros(categories - 1)
    return FreeGaussian(zeros, zeros.clone(), temperature, PlanarLayers(layers, categories - 1))


def free_sticks(categories: int, temperature: float) -> FreeGaussian:
    """As many sticks as categories. The extra category, which is never the largest, comes last.

    Locations start at ``log(a / (1 - a))`` with ``a = 1 / sticks``, log-scales at N(.5413, .01^2).
    """
    return FreeGaussian(*_sticks(categories), temperature, StickBreaking())


def free_log_sticks(categories: int, temperature: float) -> FreeGaussian:
    """One stick fewer than categories: the remainder is a category. It starts as :func:`free_sticks`."""
    return FreeGaussian(*_sticks(categories - 1), temperature, LogStickBreaking())


class FreeTruncatedSticks(nn.Module):
    """A :class:`StickBreakingGaussian` with parameters of its own, started as :func:`free_sticks`.

    Args:
        categories: of the target; no more than ``sticks``.
        temperature: of the law.
        sticks: number of sticks.
        kept: mass that the pieces of a sample exceed, in (0, 1).
    """

    def __init__(self, categories: int, temperature: float, sticks: int = 200, kept: float = 0.9) -> None:
        super().__init__()
        if sticks < categories:
            raise ValueError(f"expected at least {categories} sticks, as many as categories, got {sticks}")
        self.loc, self.log_scale = (nn.Parameter(start) for start in _sticks(sticks))
        self.temperature, self.kept = temperature, kept

    def forward(self) -> RelaxedOneHot:
        """The law of the present parameters."""
        loc, log_scale, truncation = self.loc.clone(), self.log_scale.clone(), PerSampleTruncation(self.kept)
        return StickBreakingGaussian(loc, log_scale, self.temperature, truncation=truncation, validate_args=False)


def _sticks(count: int) -> tuple[Tensor, Tensor]:
    return torch.full((count,), -math.log(max(count - 1, 1e-3))), 0.5413 + 0.01 * torch.randn(count)
