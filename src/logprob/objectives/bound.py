"""Training by a lower bound, where the likelihood itself is intractable."""

from __future__ import annotations

from dataclasses import dataclass

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.objectives.base import Loss


@dataclass(frozen=True)
class NegativeLikelihoodBound:
    """``-mean_b`` of the model's lower bound of ``log P(x_b | context_b)``, in nats.

    The bound is estimated with fresh noise at every call; its gradient is exact for that noise. For flows with
    self-normalizing layers, :class:`SelfNormalizingLikelihood` has no determinant in the step.

    Args:
        samples: noise samples a row; with more the bound is tighter, at as many times the cost.

    Raises:
        ValueError: if ``samples`` is below 1; when called, if the model's distribution has no ``log_prob_bound``.

    Example:
        >>> import torch
        >>> from logprob.flows import DenseFlow, Dequantized, PixelLogits
        >>> model = Dequantized(DenseFlow(4, preprocessing=[PixelLogits(17)]), categories=17)
        >>> NegativeLikelihoodBound()(model, Batch(torch.randint(17, (8, 4)))).value.shape
        torch.Size([])
    """

    samples: int = 1

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")

    def __call__(self, model: DistributionModule, batch: Batch) -> Loss:
        """Return the loss in nats; its metric ``log_prob_bound`` is the mean bound."""
        distribution = model(batch.context)
        if not hasattr(distribution, "log_prob_bound"):
            raise ValueError(
                f"{type(model).__name__} has no log_prob_bound; a NegativeLikelihoodBound trains dequantised flows, "
                "NegativeLogLikelihood any model with an exact log_prob"
            )
        bound = distribution.log_prob_bound(batch.x, self.samples).mean()
        return Loss(-bound, {"log_prob_bound": bound.detach()})
