"""Maximum likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.objectives.base import Loss


@dataclass(frozen=True)
class NegativeLogLikelihood:
    """Mean negative log-likelihood of the batch, ``-mean_b log p(x_b | context_b)``, in nats.

    Args:
        missing: what a NaN in ``x`` means. ``"error"`` refuses the table before training starts;
            ``"integrate"`` trains on the marginal likelihood of the observed entries, for models whose
            distribution integrates missing values exactly (circuits do).

    Example:
        >>> import torch
        >>> from logprob.circuits import Circuit, Gaussian, linear_tree
        >>> model = Circuit(linear_tree(3), Gaussian(), units=2)
        >>> NegativeLogLikelihood()(model, Batch(torch.zeros(5, 3))).value.shape
        torch.Size([])
    """

    missing: Literal["error", "integrate"] = "error"

    def __call__(self, model: DistributionModule, batch: Batch) -> Loss:
        """Return the loss in nats; its metric ``log_likelihood`` is the mean log-likelihood."""
        log_likelihood = model(batch.context).log_prob(batch.x).mean()
        return Loss(-log_likelihood, {"log_likelihood": log_likelihood.detach()})
