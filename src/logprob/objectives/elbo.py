"""The evidence lower bound of a model with latent variables, with any divergence and any gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from logprob.batch import Batch
from logprob.distributions.checks import check_latent, has_structure, is_drawn_by_gradient, refuse_context
from logprob.gradients import GradientEstimator, PathwiseGradient, Reparameterized
from logprob.objectives.base import Loss
from logprob.objectives.divergence import SAMPLED, Divergence, check_divergences, divergence, each_divergence


class Terms(NamedTuple):
    """What a bound is put together from.

    Args:
        log_likelihood: ``log p(x | z)`` in nats, ``(S, B)``, with the estimator's gradient.
        divergences: of each group of latent variables in nats, ``(B,)`` or, if sampled, ``(S, B)``.
    """

    log_likelihood: Tensor
    divergences: list[Tensor]


class NegativeELBO(nn.Module):
    """``-mean_b [E_q log p(x_b | z) - KL(q(z | x_b) || p(z))]`` in nats, for a model with latent variables.

    ``E_q`` is over S samples. Its gradient with respect to the posterior is the estimator's: through relaxed samples
    (:class:`~logprob.gradients.Reparameterized`), or by any other of :mod:`logprob.gradients` and
    :mod:`logprob.simplex` and, for subsets, trees and other structures, :mod:`logprob.discrete`. Continuous latent
    variables are always reparameterised.

    With relaxed samples and ``kl="categorical"`` the value bounds nothing; people train with it all the same. What the
    *discrete* model is worth is told by :class:`~logprob.metrics.DiscreteBound`. Nor is the value a bound where the
    gradient draws from another law than the posterior, as ``ByPerturbation`` does for subsets and trees;
    :class:`~logprob.metrics.EvidenceBounds` draws from the posterior itself.

    Args:
        kl: see :func:`~logprob.objectives.divergence`; one name, or one for each group of latent variables.
        gradient: of the expectation over relaxed categories or over structures; reparameterised if omitted, which
            structures are not.
        samples: S.

    Raises:
        ValueError: if a number or a name is out of its range; when called, if an estimator that draws one-hot samples
            stands beside a sampled divergence, one that is no sample beside several groups of categories or
            structures, or none beside structures.
        TypeError: when called, if the model has no latent variables.

    Example:
        >>> import torch
        >>> from logprob.distributions import GaussianLatent, LatentVariableModel
        >>> from logprob.nn import MLP
        >>> model = LatentVariableModel(6, GaussianLatent(2), MLP, MLP)
        >>> sorted(NegativeELBO()(model, Batch(torch.zeros(5, 6))).metrics)
        ['elbo', 'kl', 'log_likelihood']
    """

    def __init__(
        self,
        kl: Divergence | Sequence[Divergence] = "closed",
        gradient: GradientEstimator | None = None,
        samples: int = 1,
    ) -> None:
        super().__init__()
        check_divergences(kl)
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        self.kl, self.samples = kl, samples
        self.gradient = Reparameterized() if gradient is None else gradient

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss in nats; its metrics are the bound and its two parts, means over the rows."""
        refuse_context(model, batch.context)
        terms = self.terms(model, batch.x)
        log_likelihood = terms.log_likelihood.mean()
        kl = torch.stack([part.mean() for part in terms.divergences]).sum()
        metrics = {"elbo": log_likelihood - kl, "log_likelihood": log_likelihood, "kl": kl}
        return Loss(kl - log_likelihood, {name: value.detach() for name, value in metrics.items()})

    def terms(self, model: Any, x: Tensor) -> Terms:
        """Log-likelihood and divergences of rows ``(B, D)``."""
        check_latent(model, type(self).__name__)
        posteriors, priors = model.posteriors(x), model.priors()
        names = each_divergence(self.kl, len(posteriors))
        self._check_samples(posteriors, names)
        z, log_likelihood = self._expectation(model, x, posteriors)
        each = zip(names, posteriors, priors, z, strict=True)
        return Terms(log_likelihood, [divergence(name, q, p, part) for name, q, p, part in each])

    def _expectation(self, model: Any, x: Tensor, posteriors: list[Any]) -> tuple[list[Tensor | None], Tensor]:
        """Samples of each group, and the log-likelihood at them; no samples of a group that the estimator draws."""
        shape, gradient = torch.Size((self.samples,)), self.gradient
        if isinstance(gradient, PathwiseGradient):
            z = [gradient.rsample(q, shape) if is_drawn_by_gradient(q) else q.rsample(shape) for q in posteriors]
            return list(z), model.log_likelihood(x, z)
        (index,) = (number for number, q in enumerate(posteriors) if is_drawn_by_gradient(q))
        rest: list[Any] = [None if number == index else q.rsample(shape) for number, q in enumerate(posteriors)]

        def log_likelihood(value: Tensor) -> Tensor:
            result: Tensor = model.log_likelihood(x, [*rest[:index], value, *rest[index + 1 :]])
            return result

        return rest, gradient(posteriors[index], log_likelihood, shape)

    def _check_samples(self, posteriors: list[Distribution], names: list[Divergence]) -> None:
        structures = any(has_structure(q) for q in posteriors)
        drawn = [name for q, name in zip(posteriors, names, strict=True) if is_drawn_by_gradient(q)]
        own = type(self.gradient).__name__
        if structures and isinstance(self.gradient, Reparameterized):
            raise ValueError(f"structures are not reparameterised: {type(self).__name__} needs a gradient")
        if (structures or self.gradient.value == "one-hot") and any(name in SAMPLED for name in drawn):
            raise ValueError(
                f"{own} draws one-hot samples or structures, which have no relaxed density; "
                "use kl='closed', 'categorical' or 'bound' beside it"
            )
        if not isinstance(self.gradient, PathwiseGradient) and len(drawn) != 1:
            raise ValueError(
                f"{own} takes one group of categorical or structured variables, the model has {len(drawn)}"
            )
