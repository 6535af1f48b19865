"""How near to a vertex of the simplex the samples of a relaxation are, by temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from logprob.distributions import vertex_distance
from logprob.simplex.concrete import ExpConcrete
from logprob.simplex.relaxed import RelaxedOneHot

AtTemperature = Callable[[float], RelaxedOneHot]
HALVINGS = 40


@dataclass(frozen=True, eq=False)
class Proximity:
    """Distances of samples to their nearest vertices.

    Args:
        temperatures: T of them.
        distances: of S samples at each, ``(T, S, ...)`` with the batch of the law.
    """

    temperatures: tuple[float, ...]
    distances: Tensor

    def quantile(self, q: float) -> Tensor:
        """Quantile over the samples, ``(T, ...)``."""
        return self.distances.quantile(q, 1)

    @property
    def median(self) -> Tensor:
        """``(T, ...)``."""
        return self.quantile(0.5)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation over the samples, ``(T, ...)``."""
        return self.distances.std(1)

    def share_within(self, distance: float) -> Tensor:
        """Share of samples that are no farther than ``distance`` from a vertex, ``(T, ...)``."""
        return (self.distances <= distance).to(self.distances).mean(1)


@torch.no_grad()
def proximity(law_at: AtTemperature, temperatures: Sequence[float], samples: int = 10_000) -> Proximity:
    """Distances to the nearest vertex of samples of a law at some temperatures.

    Args:
        law_at: gives the law at a temperature.
        temperatures: each > 0.
        samples: drawn at each.

    Raises:
        ValueError: if there is no temperature, or if the law is one of logarithms.

    Example:
        >>> from logprob.simplex import InvertibleGaussian
        >>> near = proximity(lambda t: InvertibleGaussian.uniform(50, temperature=t), [0.05, 1.0], samples=200)
        >>> near.median[0] < 0.2 < near.median[1]
        tensor(True)
    """
    if len(temperatures) == 0:
        raise ValueError("expected at least one temperature, got none")
    laws = [law_at(t) for t in temperatures]
    if isinstance(laws[0], ExpConcrete):
        raise ValueError("expected a law on the simplex, got ExpConcrete, whose values are logarithms; use Concrete")
    distances = [vertex_distance(law.sample(torch.Size((samples,)))) for law in laws]
    return Proximity(tuple(temperatures), torch.stack(distances))


@torch.no_grad()
def posterior_proximity(posterior: RelaxedOneHot, samples: int = 100) -> Tensor:
    """Typical distance of the codes of images to one-hot codes: one number an image.

    Args:
        posterior: of batch shape ``(B, N)``, for B images of N variables.
        samples: drawn of each.

    Returns:
        The median over samples of the mean over variables, ``(B,)``.

    Raises:
        ValueError: if the batch shape has not two dimensions.
    """
    if len(posterior.batch_shape) != 2:
        raise ValueError(f"expected a posterior of batch shape (B, N), got {tuple(posterior.batch_shape)}")
    return vertex_distance(posterior.sample(torch.Size((samples,)))).mean(-1).quantile(0.5, 0)


@torch.no_grad()
def temperature_within(
    law_at: AtTemperature,
    share: float = 0.75,
    distance: float = 0.2,
    samples: int = 10_000,
    between: tuple[float, float] = (1e-3, 100.0),
) -> float:
    """The highest temperature at which a share of the samples is still within a distance of a vertex.

    By bisection, with the same noise at every temperature: a sample only comes closer as its temperature falls. For a
    law with a batch the share is over the batch, too.

    Args:
        law_at: gives the law at a temperature.
        share: of samples, in (0, 1).
        distance: to the nearest vertex, > 0.
        samples: drawn once.
        between: temperatures that enclose the answer.

    Raises:
        ValueError: if they do not.

    Example:
        >>> from logprob.simplex import InvertibleGaussian
        >>> t = temperature_within(lambda t: InvertibleGaussian.uniform(10, temperature=t))
        >>> near = proximity(lambda t: InvertibleGaussian.uniform(10, temperature=t), [t])
        >>> abs(near.share_within(0.2).item() - 0.75) < 0.03
        True
    """
    noise = law_at(between[0]).draw_noise(torch.Size((samples,)))

    def close(temperature: float) -> bool:
        psi = (law_at(temperature).scores(noise) / temperature).softmax(-1)
        return (vertex_distance(psi) <= distance).double().mean().item() >= share

    low, high = map(math.log, between)
    if not close(between[0]) or close(between[1]):
        raise ValueError(
            f"expected temperatures between which the share within {distance} falls below {share}, got {between}"
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if close(math.exp(middle)) else (low, middle)
    return math.exp(low)
