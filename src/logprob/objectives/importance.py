"""The multi-sample bound of a model with latent variables as a loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import log_ratio
from logprob.distributions.checks import check_latent, refuse_context
from logprob.objectives.base import Loss


@dataclass(frozen=True)
class NegativeIWAE:
    """``-mean_b log (1/M) sum_m p(x_b | z_m) p(z_m) / q(z_m | x_b)``, ``z_m ~ q``, in nats: a tighter bound.

    Every weight holds the log-ratio of the *sampled* z; a divergence in closed form inside the logarithm would be no
    bound. Relaxed variables are points of the simplex with a density.

    Args:
        samples: M.
        gradient: ``"standard"``, or ``"doubly-reparameterized"``, whose noise in the posterior's gradient does not
            drown it as M grows. Both have the same mean. The second is for posteriors that the encoder alone decides.

    Raises:
        ValueError: if ``samples`` is below 1 or the gradient unknown; when called, if the gradient is to be doubly
            reparameterised and a posterior has learned numbers of its own, such as a map that the prior lacks.
        TypeError: when called, if the model has no latent variables.

    References:
        Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016; Tucker, Lawson, Gu and Maddison,
        "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives", ICLR 2019.

    Example:
        >>> import torch
        >>> from logprob.distributions import GaussianLatent, LatentVariableModel
        >>> from logprob.nn import MLP
        >>> model = LatentVariableModel(6, GaussianLatent(2), MLP, MLP)
        >>> sorted(NegativeIWAE(5)(model, Batch(torch.zeros(4, 6))).metrics)
        ['effective_sample_size', 'iwae']
    """

    samples: int = 10
    gradient: Literal["standard", "doubly-reparameterized"] = "standard"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")
        if self.gradient not in ("standard", "doubly-reparameterized"):
            raise ValueError(f"gradient must be standard or doubly-reparameterized, got {self.gradient!r}")

    def __call__(self, model: Any, batch: Batch) -> Loss:
        """The loss in nats; its metrics are the bound and the effective number of samples, of M."""
        check_latent(model, type(self).__name__)
        refuse_context(model, batch.context)
        if self.gradient != "standard":
            _check_posteriors(model)
        numbers = model.encode(batch.x).expand(self.samples, -1, -1)  # (M, B, *)
        log_weights = self._log_weights(model, batch.x, numbers)
        bound = log_weights.logsumexp(0).mean() - math.log(self.samples)
        share = log_weights.detach().softmax(0)  # (M, B)
        metrics = {"iwae": bound.detach(), "effective_sample_size": (1 / share.square().sum(0)).mean()}
        if self.gradient == "standard":
            return Loss(-bound, metrics)
        if numbers.requires_grad:  # what reaches the encoder is weighted by the square of the share
            numbers.register_hook(lambda gradient: gradient * share.unsqueeze(-1))
        weighted = (share * log_weights).sum(0).mean()
        return Loss(-(weighted + (bound - weighted).detach()), metrics)

    def _log_weights(self, model: Any, x: Tensor, numbers: Tensor) -> Tensor:
        posteriors, priors = model.posteriors_of(numbers), model.priors()
        z = [q.rsample() for q in posteriors]
        weights: Tensor = model.log_likelihood(x, z)  # (M, B)
        through_z_only = self.gradient != "standard"
        for q, p, part in zip(posteriors, priors, z, strict=True):
            weights = weights - log_ratio(q, p, part, stick_the_landing=through_z_only).sum(-1)
        return weights


def _check_posteriors(model: Any) -> None:
    for group in model.latents:
        if group.learned_posterior:
            raise ValueError(
                f"the posterior of {type(group).__name__} has learned numbers beside the encoder's, whose doubly "
                "reparameterised gradient would be biased; use gradient='standard'"
            )
