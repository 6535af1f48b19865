"""A network that is the score itself, of no energy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from logprob.distributions import DistributionModule, IntractableError, UnnormalizedDistribution
from logprob.energy.rows import width_of


class ScoreNetwork(DistributionModule):
    """``grad log p(x) = network(x)``; there need be no density whose gradient it is.

    ``DenoisingScoreMatching(sigma, sigma_power=0)`` trains it: ``1/2 E ||network(x + v) + v / sigma^2||^2``. Labels
    given as context are ignored.

    Args:
        network: from rows ``(N, D)`` to ``(N, D)``.
        variables: D, only told to ``event_shape``; found from ``network`` where that says it, else unknown, -1.

    References:
        Song and Ermon, "Generative Modeling by Estimating Gradients of the Data Distribution", NeurIPS 2019.

    Example:
        >>> from logprob.nn import MLP
        >>> ScoreNetwork(MLP(5, 5))().score(torch.randn(6, 5)).shape
        torch.Size([6, 5])
    """

    def __init__(self, network: nn.Module, variables: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.variables = width_of(network) if variables is None else variables

    def forward(self, context: Tensor | None = None) -> ScoreNetworkDistribution:
        """The law of one row, known by its score."""
        return ScoreNetworkDistribution(self)


class ScoreNetworkDistribution(UnnormalizedDistribution):
    """A law of which only the score is known; made by :class:`ScoreNetwork`.

    Args:
        model: gives the score.
        batch_shape: none if omitted.
    """

    support = constraints.real_vector

    def __init__(self, model: ScoreNetwork, batch_shape: Any = ()) -> None:
        self.model = model
        super().__init__(torch.Size(batch_shape), torch.Size((model.variables,)), validate_args=False)

    def score(self, value: Tensor) -> Tensor:
        """The network's values, of the shape of ``value``.

        Raises:
            ValueError: if they have another.
        """
        score: Tensor = self.model.network(value)
        if score.shape != value.shape:
            raise ValueError(f"expected a score of shape {tuple(value.shape)}, got {tuple(score.shape)}")
        return score

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """Raises :class:`IntractableError`: a network need not be the gradient of anything."""
        raise IntractableError("a score network has no log-density, not even up to a constant; use score")

    def expand(self, batch_shape: Any, _instance: Any = None) -> ScoreNetworkDistribution:
        """The same law with a batch shape."""
        return ScoreNetworkDistribution(self.model, batch_shape)
