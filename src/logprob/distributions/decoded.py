"""Laws of rows that are decoded from latent variables: a bound of their probability, and draws."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from logprob.distributions.base import DistributionModule, IntractableError, UnnormalizedDistribution
from logprob.distributions.draws import draws_of
from logprob.distributions.pixels import PixelLikelihood


class DecodedModel(DistributionModule):
    """A module whose :class:`DecodedDistribution` has the likelihood of its attribute ``likelihood``."""

    likelihood: PixelLikelihood

    def initialize(self, x: Tensor) -> None:
        """Look at training rows; nothing depends on them.

        Raises:
            ValueError: if a value is not what the likelihood is for.
        """
        self.likelihood.check(x)

    def cast(self, x: Tensor) -> Tensor:
        """Rows in the floating type of the parameters."""
        return x.to(next(self.parameters()).dtype)


class DecodedDistribution(UnnormalizedDistribution):
    """``p(x) = E p(x | z)`` with a likelihood whose numbers a network gives; what is known of it is a bound.

    A subclass gives :meth:`log_weights` and :meth:`decoded`.

    Args:
        likelihood: of a row given the network's outputs.
        batch_shape: of the contexts that the law is given.
        variables: number D of variables of a row.
    """

    def __init__(self, likelihood: PixelLikelihood, batch_shape: Any, variables: int) -> None:
        self.likelihood = likelihood
        super().__init__(torch.Size(batch_shape), torch.Size((variables,)), validate_args=False)

    @abstractmethod
    def log_weights(self, value: Tensor, samples: int) -> Tensor:
        """Logarithms of unbiased estimates of ``p(x)``, or of less, in nats: ``(M, B)`` for rows ``(B, D)``."""

    @abstractmethod
    def decoded(self, sample_shape: torch.Size) -> Tensor:
        """The likelihood's numbers for draws of the latent variables, ``sample_shape + batch_shape + (P D,)``."""

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """Raises :class:`IntractableError`: see :meth:`log_prob_bound`."""
        raise IntractableError("log p(x) is an expectation over latent variables; use log_prob_bound")

    def log_prob_bound(self, value: Tensor, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Log of the mean of M unbiased estimates of p(x): in the mean at most ``log p(x)``, in nats, ``(B,)``.

        Args:
            value: rows ``(B, D)``.
            samples: M; the bound is the tighter the more there are.
            generator: of the draws; torch's own if omitted.

        Raises:
            ValueError: if ``samples`` is below 1, or ``value`` has another shape.
        """
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        expected = (self.batch_shape or value.shape[:1]) + self.event_shape
        if value.shape != expected:
            raise ValueError(f"expected values {tuple(expected)}, got {tuple(value.shape)}")
        with draws_of(generator, value.device):
            return self.log_weights(value, samples).logsumexp(0) - math.log(samples)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Raises :class:`IntractableError`: rows are drawn, not reparameterised."""
        raise IntractableError(f"{type(self).__name__} has no reparameterised sampler of rows; sample draws them")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw latent variables, then rows."""
        with torch.no_grad():
            return self.likelihood.sample(self.decoded(torch.Size(sample_shape)))

    def sample_mean(self, sample_shape: Any = ()) -> Tensor:
        """Draw latent variables; the mean of a row given each: smoother to look at than :meth:`sample`."""
        with torch.no_grad():
            return self.likelihood.mean(self.decoded(torch.Size(sample_shape)))
