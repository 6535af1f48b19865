"""Approximate a discrete law by a relaxation: a differentiable stand-in for draws from it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from logprob.simplex.certificate import Certificate, category_probs, sampling_floor, total_variation
from logprob.simplex.concrete import Concrete
from logprob.simplex.discrete_laws import DiscreteLaw, vector
from logprob.simplex.from_probs import SMALLEST
from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.matching import Build, Matching, free_sticks
from logprob.simplex.relaxed import RelaxedOneHot


class Fit(NamedTuple):
    """A law, the one that the fit started from, and the losses on the way."""

    law: RelaxedOneHot
    start: RelaxedOneHot
    losses: tuple[float, ...] = ()


Family = Callable[[Tensor, float], Fit]
"""Fits probabilities ``(K,)`` in float64 at a temperature. The law may have more categories than K."""


@dataclass(frozen=True)
class ExactGaussian:
    """Family of :class:`InvertibleGaussian` without a map: the category has the target's law, by Newton's method.

    Args:
        scale: of the Gaussians, > 0.
        delta: weight of the last category, > 0.
    """

    scale: float = 1.0
    delta: float = 1.0

    def __call__(self, probs: Tensor, temperature: float) -> Fit:
        """Solve for the locations; probabilities below 1e-12 are taken to be 1e-12."""
        law = InvertibleGaussian.from_probs(probs, self.scale, temperature, self.delta)
        even = torch.full_like(probs, 1 / len(probs))
        return Fit(law, InvertibleGaussian.from_probs(even, self.scale, temperature, self.delta))


@dataclass(frozen=True)
class ExactConcrete:
    """Family of :class:`Concrete`: ``logits = log probs`` is exact at any temperature, and nothing is to be fitted."""

    def __call__(self, probs: Tensor, temperature: float) -> Fit:
        """Take logarithms; probabilities below 1e-12 are taken to be 1e-12."""
        law = Concrete(temperature, logits=probs.clamp(min=SMALLEST).log())
        return Fit(law, Concrete(temperature, logits=torch.zeros_like(probs)))


@dataclass(frozen=True)
class Matched:
    """A family without category probabilities: the mean of its samples is matched by gradient descent.

    Args:
        build: takes K and the temperature and gives a module, whose ``forward()`` gives a law of at least K categories:
            :func:`~logprob.simplex.matching.free_sticks`, ``free_log_sticks``, ``free_planar``,
            ``FreeTruncatedSticks``, or one of yours.
        matching: loss and optimiser.
    """

    build: Build = free_sticks
    matching: Matching = field(default_factory=Matching)

    def __call__(self, probs: Tensor, temperature: float) -> Fit:
        """Train a module and take its last law."""
        module = self.build(len(probs), temperature)
        start = copy.deepcopy(module)
        losses = self.matching(module, probs)
        with torch.no_grad():
            return Fit(module(), start(), losses)


def approximate(
    target: DiscreteLaw | Tensor,
    family: Family = ExactGaussian(),
    temperature: float = 0.01,
    samples: int = 100_000,
) -> tuple[RelaxedOneHot, Certificate]:
    """A relaxed law whose category has nearly the law ``target``, and a certificate of how nearly.

    :class:`ExactGaussian` and :class:`ExactConcrete` are exact up to quadrature and the clip at 1e-12;
    :class:`Matched` reaches what gradient descent reaches, and its certificate comes from draws that the fit has not
    seen. Any callable of the same kind is a family.

    Args:
        target: a law from :mod:`~logprob.simplex.discrete_laws`, or probabilities ``(K,)``.
        family: how to fit.
        temperature: of the law, > 0. Exact families have the same category at each; matched ones need a low one, as
            the mean of their samples is the law of the category only as it goes to 0.
        samples: draws for a certificate that cannot be analytic.

    Returns:
        The law, without batch and gradients, and the certificate.

    Raises:
        ValueError: if the target is no law, or if the temperature is not positive.

    References:
        Potapczynski, Loaiza-Ganem, Cunningham, "Invertible Gaussian reparameterization", NeurIPS 2020, Section 5.

    Example:
        >>> from logprob.simplex import discrete_laws
        >>> law, certificate = approximate(discrete_laws.binomial(12, 0.3))
        >>> certificate.analytic, certificate.total_variation < 1e-6
        (True, True)
        >>> law.rsample((3,)).shape
        torch.Size([3, 13])
    """
    if not temperature > 0:
        raise ValueError(f"expected temperature > 0, got {temperature}")
    law = target if isinstance(target, DiscreteLaw) else vector(target)
    fit = family(law.probs, temperature)
    start, end = (category_probs(relaxed, samples) for relaxed in (fit.start, fit.law))
    certificate = Certificate(
        total_variation=total_variation(end.probs, law.probs).item(),
        samples=end.samples,
        floor=sampling_floor(law.probs, end.samples),
        tail=law.tail,
        losses=fit.losses,
        start=start.probs,
        probs=end.probs,
        target=law.probs,
    )
    return fit.law, certificate
