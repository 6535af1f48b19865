"""An energy that is the sum of its features: the baseline without labels."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from logprob.distributions import DistributionModule, UnnormalizedDistribution
from logprob.energy.rows import rows_of_copies, width_of


class UnconditionalEnergy(DistributionModule):
    """``log p(x) = u(x) - log Z``, ``u = sign * sum_i f_i(x)``, Z unknown.

    It is the conditional energy whose every label has the vector of ones: the baseline that labels are measured
    against. Labels given as context are ignored, so it trains on labelled rows as they are.

    Args:
        network: f, from rows ``(N, D)`` to ``(*copies, N, m)``.
        sign: 1 or -1; it only relabels f.
        copies: number of models that ``network`` holds side by side, or None.
        variables: D, only told to ``event_shape``; found from ``network`` where that says it, else unknown, -1.

    Raises:
        ValueError: for another sign.

    Example:
        >>> from logprob.nn import MLP
        >>> model = UnconditionalEnergy(MLP(5, 3))
        >>> model().unnormalized_log_prob(torch.randn(6, 5)).shape
        torch.Size([6])
    """

    def __init__(
        self,
        network: nn.Module,
        sign: Literal[1, -1] = 1,
        copies: int | None = None,
        variables: int | None = None,
    ) -> None:
        super().__init__()
        if sign not in (1, -1):
            raise ValueError(f"sign must be 1 or -1, got {sign}")
        self.network, self.sign, self.copies = network, sign, copies
        self.variables = width_of(network) if variables is None else variables

    def forward(self, context: Tensor | None = None) -> UnconditionalEnergyDistribution:
        """The law of rows, whatever their labels."""
        return UnconditionalEnergyDistribution(self)

    def features(self, x: Tensor) -> Tensor:
        """f of rows, ``(*copies, N, m)``."""
        values: Tensor = self.network(x)
        return values


class UnconditionalEnergyDistribution(UnnormalizedDistribution):
    """The law of one row; made by :class:`UnconditionalEnergy`.

    Args:
        model: gives the features.
        batch_shape: none if omitted.
    """

    support = constraints.real_vector

    def __init__(self, model: UnconditionalEnergy, batch_shape: Any = ()) -> None:
        self.model = model
        super().__init__(torch.Size(batch_shape), torch.Size((model.variables,)), validate_args=False)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """u of rows ``(N, D)``, or ``(C, N, D)`` of C copies, in nats, ``(*copies, N)``."""
        return self.model.sign * self.model.features(value).sum(-1)

    def score(self, value: Tensor) -> Tensor:
        """``grad_x u(x)``, ``(*copies, N, D)``; differentiable where gradients are enabled."""
        return super().score(rows_of_copies(value, self.model.copies))

    def expand(self, batch_shape: Any, _instance: Any = None) -> UnconditionalEnergyDistribution:
        """The same law with a batch shape."""
        return UnconditionalEnergyDistribution(self.model, batch_shape)
