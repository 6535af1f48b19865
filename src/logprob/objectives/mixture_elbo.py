"""The evidence lower bound of a deep latent Gaussian mixture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.objectives.base import Loss
from logprob.objectives.divergence import SAMPLED, Divergence, divergence
from logprob.simplex.gaussian_mixture import DeepGaussianMixture, first_components

_DIVERGENCES = ("closed", *SAMPLED)


@dataclass(frozen=True)
class NegativeMixtureELBO:
    """``-mean_b ELBO_b`` of a :class:`~logprob.simplex.DeepGaussianMixture`, in nats.

    The posterior is ``q(v | x) q(k | v) q_k(z | x)`` with ``q(k | v) = pi_k(v)``, so that the component costs nothing::

        ELBO = E_q(v) [sum_k pi_k (E_q_k log p(x | z) - KL(q_k || p_k))] - KL(q(v) || p(v))  <=  log p(x)

    The sum over k is exact, E is over S samples. Where the sticks' truncation leaves components out, ``q(k | v)`` is
    ``pi`` on the kept ones, divided by their weight, and the logarithm of that weight is added: still a bound.

    Args:
        kl: of the latent vectors and of the sticks: ``"closed"``, ``"sampled"`` or ``"sticking-the-landing"``, see
            :func:`~logprob.objectives.divergence`; the mean is the same, and so is that of the gradient.
        sticks_kl: that of the sticks, where it is another one.
        samples: S.

    Raises:
        ValueError: if a number or a name is out of its range.
        TypeError: when called, if the model is no deep Gaussian mixture.

    Example:
        >>> import torch
        >>> from logprob.nn import MLP
        >>> from logprob.simplex.mixture_sticks import GaussianSticks
        >>> model = DeepGaussianMixture(6, GaussianSticks, MLP, MLP, components=3, size=2)
        >>> sorted(NegativeMixtureELBO()(model, Batch(torch.zeros(5, 6))).metrics)
        ['elbo', 'kept_weight', 'kl_components', 'kl_sticks', 'log_likelihood']
    """

    kl: Divergence = "closed"
    sticks_kl: Divergence | None = None
    samples: int = 1

    def __post_init__(self) -> None:
        for name in (self.kl, self.sticks_kl or self.kl):
            if name not in _DIVERGENCES:
                raise ValueError(f"kl must be one of {', '.join(_DIVERGENCES)}, got {name!r}")
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")

    def __call__(self, model: DistributionModule, batch: Batch) -> Loss:
        """The loss in nats; its metrics are the bound and its parts, means over the rows."""
        terms = {name: value.mean() for name, value in self.terms(model, batch.x).items()}
        elbo = terms["log_likelihood"] - terms["kl_components"] - terms["kl_sticks"] + terms["log_kept_weight"]
        kept = terms.pop("log_kept_weight").exp()  # a geometric mean
        metrics = {"elbo": elbo, **terms, "kept_weight": kept}
        return Loss(-elbo, {name: value.detach() for name, value in metrics.items()})

    def terms(self, model: DistributionModule, x: Tensor) -> dict[str, Tensor]:
        """The parts of the bound of every row, each ``(S, B)`` or ``(B,)``."""
        if not isinstance(model, DeepGaussianMixture):
            raise TypeError(f"NegativeMixtureELBO trains a DeepGaussianMixture, got {type(model).__name__}")
        posterior, prior = model.posterior(x), model.prior()
        draws = model.draw(x, posterior, self.samples)
        weights = draws.log_weights.softmax(-1)  # q(k | v), (S, B, k)
        # Closed (B, k), sampled (S, B, k).
        components = divergence(self.kl, *first_components(posterior, prior, draws), draws.vectors)
        return {
            "log_likelihood": (weights * draws.log_likelihoods).sum(-1),
            "kl_components": (weights * components).sum(-1),
            "kl_sticks": divergence(self.sticks_kl or self.kl, posterior.sticks, prior.sticks, draws.sticks),
            "log_kept_weight": draws.log_weights.logsumexp(-1),
        }
