"""Models with latent variables: a prior, a posterior from an encoder, a likelihood from a decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from logprob.distributions.checks import refuse_context
from logprob.distributions.decoded import DecodedDistribution, DecodedModel
from logprob.distributions.log_ratio import log_ratio
from logprob.distributions.pixels import BernoulliPixels, PixelLikelihood

Network = Callable[[int, int], nn.Module]


class Latent(nn.Module, ABC):
    """A group of V latent variables: their prior, and their posterior as an encoder's outputs say.

    Args:
        inputs: numbers that :meth:`posterior` takes for a row.
        features: numbers that a decoder is given for a row: the events of all variables, flattened.

    Attributes:
        event_dim: dimensions of a variable's event: 0 for numbers, 1 for vectors on the simplex.
        learned_posterior: whether the posterior has learned numbers that are neither the encoder's nor the prior's.
    """

    event_dim = 0
    learned_posterior = False

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.inputs, self.features = inputs, features

    @abstractmethod
    def posterior(self, parameters: Tensor) -> Distribution:
        """The posterior of rows, ``(B, inputs)``; batch shape ``(B, V)``."""

    @abstractmethod
    def prior(self) -> Distribution:
        """The prior, of batch shape ``(V,)``."""


class GaussianLatent(Latent):
    """V Gaussian variables; standard normal prior, and posterior ``N(mean, exp(log_variance))``.

    Args:
        count: number V of variables.

    Raises:
        ValueError: if ``count`` is below 1.

    Example:
        >>> GaussianLatent(3).posterior(torch.zeros(5, 6)).batch_shape
        torch.Size([5, 3])
    """

    unit: Tensor

    def __init__(self, count: int) -> None:
        check_counts(count=count)
        super().__init__(2 * count, count)
        self.register_buffer("unit", torch.ones(count), persistent=False)

    def posterior(self, parameters: Tensor) -> Normal:
        """Means first, then log-variances."""
        mean, log_variance = parameters.chunk(2, dim=-1)
        return Normal(mean, (0.5 * log_variance).exp(), validate_args=False)

    def prior(self) -> Normal:
        """Standard normal."""
        return Normal(torch.zeros_like(self.unit), self.unit, validate_args=False)


class LatentVariableModel(DecodedModel):
    """``p(x) = E p(x | z)`` over the prior of z, with a posterior ``q(z | x)``: a variational autoencoder.

    Any groups of latent variables may stand side by side; the decoder sees them flattened, one after the other.

    Args:
        variables: number D of observed variables of a row.
        latents: the group of latent variables, or several.
        encoder: makes a network of ``(inputs, outputs)``, from a row to the posteriors' numbers.
        decoder: makes a network of ``(inputs, outputs)``, from the latent variables to the likelihood's numbers; its
            rows may have more than one leading dimension.
        likelihood: of a row given the decoder's outputs.

    Raises:
        ValueError: if there is no latent variable.

    References:
        Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014.

    Example:
        >>> import torch
        >>> from logprob.nn import MLP
        >>> model = LatentVariableModel(6, GaussianLatent(2), MLP, MLP)
        >>> x = torch.bernoulli(torch.full((5, 6), 0.5))
        >>> model().log_prob_bound(x, samples=10).shape, model().sample((3,)).shape
        (torch.Size([5]), torch.Size([3, 6]))
    """

    def __init__(
        self,
        variables: int,
        latents: Latent | Sequence[Latent],
        encoder: Network,
        decoder: Network,
        likelihood: PixelLikelihood = BernoulliPixels(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__()
        groups = [latents] if isinstance(latents, Latent) else list(latents)
        if not groups:
            raise ValueError("a latent variable model needs at least one group of latent variables")
        self.variables = variables
        self.latents = nn.ModuleList(groups)
        self.likelihood = likelihood
        self.encoder = encoder(variables, sum(group.inputs for group in groups))
        self.decoder = decoder(sum(group.features for group in groups), likelihood.parameters * variables)

    @property
    def groups(self) -> list[Latent]:
        """The groups of latent variables."""
        return [group for group in self.latents if isinstance(group, Latent)]

    def forward(self, context: Tensor | None = None) -> LatentVariableDistribution:
        """The distribution of rows.

        Raises:
            ValueError: if a context is given: there is no place for one.
        """
        refuse_context(self, context)
        return LatentVariableDistribution(self)

    def posteriors(self, x: Tensor) -> list[Distribution]:
        """``q(z | x)`` of each group for rows ``(B, D)``."""
        return self.posteriors_of(self.encode(x))

    def encode(self, x: Tensor) -> Tensor:
        """The encoder's numbers for rows ``(B, D)``."""
        numbers: Tensor = self.encoder(self.cast(x))
        return numbers

    def posteriors_of(self, numbers: Tensor) -> list[Distribution]:
        """The posteriors of each group that the encoder's numbers ``(..., B, *)`` say."""
        parts = numbers.split([group.inputs for group in self.groups], dim=-1)
        return [group.posterior(part) for group, part in zip(self.groups, parts, strict=True)]

    def priors(self) -> list[Distribution]:
        """``p(z)`` of each group."""
        return [group.prior() for group in self.groups]

    def decode(self, z: Sequence[Tensor]) -> Tensor:
        """The likelihood's numbers ``(..., P D)`` for values of each group, ``(..., V, *event)``."""
        rows = [value.flatten(-1 - group.event_dim) for group, value in zip(self.groups, z, strict=True)]
        raw: Tensor = self.decoder(rows[0] if len(rows) == 1 else torch.cat(rows, dim=-1))
        return raw

    def log_likelihood(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        """``log p(x | z)`` in nats, ``(..., B)``, for rows ``(B, D)`` and values ``(..., B, V, *event)``."""
        return self.likelihood(self.decode(z), self.cast(x))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Mean of ``p(x' | z)`` for one draw of z from the posterior of each row."""
        return self.likelihood.mean(self.decode([q.sample() for q in self.posteriors(x)]))


class LatentVariableDistribution(DecodedDistribution):
    """The law of rows under a :class:`LatentVariableModel`; its probability is an integral, of which a bound is known.

    Args:
        model: whose present parameters are used at every call.
    """

    def __init__(self, model: LatentVariableModel) -> None:
        self.model = model
        super().__init__(model.likelihood, (), model.variables)

    def log_weights(self, value: Tensor, samples: int) -> Tensor:
        """``log p(x | z_m) + log p(z_m) - log q(z_m | x)`` with ``z_m ~ q``, ``(M, B)``.

        Relaxed variables count as what they are, points of the simplex with a density.
        """
        posteriors, priors = self.model.posteriors(value), self.model.priors()
        z = [q.rsample(torch.Size((samples,))) for q in posteriors]
        weights = self.model.log_likelihood(value, z)
        for q, p, part in zip(posteriors, priors, z, strict=True):
            weights = weights - log_ratio(q, p, part).sum(-1)
        return weights

    def decoded(self, sample_shape: torch.Size) -> Tensor:
        """The decoder's numbers for draws from the prior."""
        return self.model.decode([prior.sample(sample_shape) for prior in self.model.priors()])

    def expand(self, batch_shape: Any, _instance: Any = None) -> LatentVariableDistribution:
        """The same distribution with a batch shape; only ``()`` is offered."""
        if tuple(batch_shape):
            raise NotImplementedError(f"expected the batch shape (), got {tuple(batch_shape)}")
        return LatentVariableDistribution(self.model)


def check_counts(**counts: int) -> None:
    """Raise ValueError unless every number is at least 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
