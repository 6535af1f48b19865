"""A deep latent Gaussian mixture: an autoencoder whose latent vector comes from a mixture with random weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from logprob.distributions import BernoulliPixels, DecodedDistribution, DecodedModel, PixelLikelihood, log_ratio
from logprob.distributions.checks import refuse_context
from logprob.distributions.latent import Network, check_counts
from logprob.simplex.mixture_sticks import Sticks


class MixturePosterior(NamedTuple):
    """``q(v | x) prod_k q_k(z_k | x)``: of sticks, batch shape ``(B, K-1)``, and of a latent vector a component,
    ``(B, K, d)``.
    """

    sticks: Distribution
    components: Normal


class MixtureDraws(NamedTuple):
    """Samples of a posterior, and what the likelihood makes of them; k runs over the components that are kept.

    Attributes:
        sticks: ``(S, B, K-1)``.
        log_weights: ``log pi_k``, ``(S, B, k)``; -inf for components that this draw leaves out.
        vectors: z, ``(S, B, k, d)``.
        log_likelihoods: ``log p(x | z_k)``, ``(S, B, k)``.
    """

    sticks: Tensor
    log_weights: Tensor
    vectors: Tensor
    log_likelihoods: Tensor


class DeepGaussianMixture(DecodedModel):
    """``p(x) = E_p(v) sum_k pi_k(v) E_N(z; m_k, I) p(x | z)``: sticks v, weights pi, one latent vector z of d numbers.

    An encoder gives the posterior of the sticks, and for every component k a Gaussian ``q_k(z | x)``. The means of the
    components under the prior are fixed: ``m_1 = 0``, the others have entries ``+-1 / sqrt(d)`` of random sign.

    Two bounds of ``log p(x)`` follow. With ``q(k | v) = pi_k``, the evidence lower bound, see
    :class:`~logprob.objectives.NegativeMixtureELBO`; and with k summed out inside the logarithm
    :meth:`DeepGaussianMixtureDistribution.log_prob_bound`, which is never below it.

    Args:
        variables: number D of observed variables of a row.
        sticks: makes the law of the sticks from the number of components.
        encoder: makes a network of ``(inputs, outputs)``, from a row to all the posterior's numbers.
        decoder: makes a network of ``(inputs, outputs)``, from a latent vector to the likelihood's numbers; its rows
            may have more than one leading dimension.
        components: K, at least 2.
        size: numbers d of a latent vector.
        likelihood: of a row given the decoder's outputs.
        mean_seed: of the signs of the prior's means.

    Raises:
        ValueError: if a number is too small.

    References:
        Nalisnick, Hertel and Smyth, "Approximate Inference for Deep Latent Gaussian Mixtures", NeurIPS workshop on
        Bayesian deep learning, 2016; Potapczynski, Loaiza-Ganem and Cunningham, "Invertible Gaussian
        Reparameterization", NeurIPS 2020.

    Example:
        >>> from logprob.nn import MLP
        >>> from logprob.simplex.mixture_sticks import GaussianSticks
        >>> model = DeepGaussianMixture(6, GaussianSticks, MLP, MLP, components=3, size=2)
        >>> x = torch.bernoulli(torch.full((5, 6), 0.5))
        >>> model().log_prob_bound(x, samples=10).shape, model().sample((3,)).shape
        (torch.Size([5]), torch.Size([3, 6]))
    """

    means: Tensor

    def __init__(
        self,
        variables: int,
        sticks: Callable[[int], Sticks],
        encoder: Network,
        decoder: Network,
        components: int = 20,
        size: int = 50,
        likelihood: PixelLikelihood = BernoulliPixels(),  # noqa: B008  (frozen)
        mean_seed: int = 0,
    ) -> None:
        super().__init__()
        check_counts(size=size)
        self.variables, self.components, self.size = variables, components, size
        self.sticks = sticks(components)
        self.likelihood = likelihood
        self.encoder = encoder(variables, self.sticks.inputs + 2 * components * size)
        self.decoder = decoder(size, likelihood.parameters * variables)
        self.register_buffer("means", _prior_means(components, size, mean_seed))

    def forward(self, context: Tensor | None = None) -> DeepGaussianMixtureDistribution:
        """The distribution of rows.

        Raises:
            ValueError: if a context is given: there is no place for one.
        """
        refuse_context(self, context)
        return DeepGaussianMixtureDistribution(self)

    def posterior(self, x: Tensor) -> MixturePosterior:
        """Posterior of rows ``(B, D)``; of a component first the means, then the log-variances."""
        numbers = self.encoder(self.cast(x))
        sticks, gaussian = numbers.split([self.sticks.inputs, 2 * self.components * self.size], dim=-1)
        mean, log_variance = gaussian.unflatten(-1, (2, self.components, self.size)).unbind(-3)
        return MixturePosterior(
            self.sticks.posterior(sticks), Normal(mean, (0.5 * log_variance).exp(), validate_args=False)
        )

    def prior(self) -> MixturePosterior:
        """Prior of sticks ``(K-1,)`` and of the components' latent vectors ``(K, d)``."""
        return MixturePosterior(self.sticks.prior(), Normal(self.means, torch.ones_like(self.means)))

    def draw(self, x: Tensor, posterior: MixturePosterior, samples: int) -> MixtureDraws:
        """Draw from the posterior of rows; components that no draw needs are not decoded."""
        v = posterior.sticks.rsample(torch.Size((samples,)))
        log_weights = self.sticks.kept(self.sticks.log_weights(v))  # (S, B, k)
        q = posterior.components
        noise = torch.randn(samples, *q.loc.shape, dtype=q.loc.dtype, device=q.loc.device)
        z = (q.loc + q.scale * noise)[..., : log_weights.shape[-1], :]  # (S, B, k, d)
        log_likelihoods = self.likelihood(self.decoder(z), self.cast(x).unsqueeze(-2))
        return MixtureDraws(v, log_weights, z, log_likelihoods)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Mean of ``p(x' | z)`` for one draw of the posterior of each row, averaged over components by ``pi``."""
        draws = self.draw(x, self.posterior(x), 1)
        means = self.likelihood.mean(self.decoder(draws.vectors))  # (1, B, k, D)
        return (draws.log_weights.softmax(-1).unsqueeze(-1) * means).sum(-2).squeeze(0)


class DeepGaussianMixtureDistribution(DecodedDistribution):
    """The law of rows under a :class:`DeepGaussianMixture`; its probability is an integral, of which a bound is known.

    Where the law of the sticks leaves components out, the bound is that of a little less than ``p(x)``.

    Args:
        model: whose present parameters are used at every call.
    """

    def __init__(self, model: DeepGaussianMixture) -> None:
        self.model = model
        super().__init__(model.likelihood, (), model.variables)

    def log_weights(self, value: Tensor, samples: int) -> Tensor:
        """``log p(v_m)/q(v_m | x) + log sum_k pi_k(v_m) p(x | z_mk) p_k(z_mk) / q_k(z_mk | x)``, ``(M, B)``."""
        posterior, prior = self.model.posterior(value), self.model.prior()
        draws = self.model.draw(value, posterior, samples)
        vectors = log_ratio(*first_components(posterior, prior, draws), draws.vectors).sum(-1)  # (M, B, k)
        inside = (draws.log_weights + draws.log_likelihoods - vectors).logsumexp(-1)
        return inside - log_ratio(posterior.sticks, prior.sticks, draws.sticks).sum(-1)

    def decoded(self, sample_shape: torch.Size) -> Tensor:
        """The decoder's numbers for draws of sticks, a component and a latent vector."""
        model = self.model
        weights = model.sticks.log_weights(model.sticks.prior().sample(sample_shape))
        component = torch.distributions.Categorical(logits=weights, validate_args=False).sample()
        means = model.means[component]
        raw: Tensor = model.decoder(means + torch.randn_like(means))
        return raw

    def expand(self, batch_shape: Any, _instance: Any = None) -> DeepGaussianMixtureDistribution:
        """The same distribution with a batch shape; only ``()`` is offered."""
        if tuple(batch_shape):
            raise NotImplementedError(f"expected the batch shape (), got {tuple(batch_shape)}")
        return DeepGaussianMixtureDistribution(self.model)


def first_components(
    posterior: MixturePosterior, prior: MixturePosterior, draws: MixtureDraws
) -> tuple[Normal, Normal]:
    """Posterior and prior of the latent vectors of the components that ``draws`` kept."""
    kept = draws.log_weights.shape[-1]
    q, p = posterior.components, prior.components
    return (
        Normal(q.loc[..., :kept, :], q.scale[..., :kept, :], validate_args=False),
        Normal(p.loc[:kept], p.scale[:kept], validate_args=False),
    )


def _prior_means(components: int, size: int, seed: int) -> Tensor:
    """Zeros, then vectors of length 1 with entries of equal size and random sign, ``(K, d)``."""
    signs = torch.randint(2, (components, size), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    signs[0] = 0
    return signs.to(torch.get_default_dtype()) / math.sqrt(size)
