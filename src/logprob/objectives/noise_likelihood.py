"""Maximum likelihood of the noise of a pair."""

from __future__ import annotations

from dataclasses import dataclass

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.energy.pair import ContrastivePair
from logprob.objectives.base import Loss


@dataclass(frozen=True)
class NoiseLikelihood:
    """``-mean_b log q(x_b)``, in nats: fits the noise of a :class:`~logprob.energy.ContrastivePair` to the data.

    It is what comes before a contrast: noise that is far from the data is told from it by anything. Give its phase the
    parameters ``^noise``; the energy takes no gradient.

    Args:
        given_labels: whether the noise is q(x | y), a module called with the labels.

    Raises:
        TypeError: when called, if the model is no pair.

    Example:
        >>> import torch
        >>> from logprob.energy import UnconditionalEnergy
        >>> from logprob.flows import RealNVP
        >>> from logprob.nn import MLP
        >>> pair = ContrastivePair(UnconditionalEnergy(MLP(2, 1)), RealNVP(2))
        >>> NoiseLikelihood()(pair, Batch(torch.randn(8, 2))).value.shape
        torch.Size([])
    """

    given_labels: bool = False

    def __call__(self, model: DistributionModule, batch: Batch) -> Loss:
        """The loss, summed over the copies of the noise if it has any; its metric is the mean log-likelihood."""
        if not isinstance(model, ContrastivePair):
            raise TypeError(f"expected a ContrastivePair, got {type(model).__name__}")
        noise = model.noise(batch.context) if self.given_labels else model.noise()
        log_q = noise.log_prob(batch.x).mean(-1)
        return Loss(-log_q.sum(), {"log_likelihood": log_q.detach().mean()})
