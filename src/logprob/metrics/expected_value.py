"""The exact expectation of a function under a small law of categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.gradients import Enumeration


@dataclass(frozen=True)
class ExpectedValue:
    """``E_q f`` over all joint categories, or all structures, of the model's law: what an ``ExpectedLoss`` estimates.

    ``expected_value``: the sum over the outcomes; in the units of ``f``. ``optimality_gap``, for laws that list their
    structures: the same less the least value of ``f``, 0 for a law that is sure of the best one. The rows are not
    looked at, but for their context.

    Args:
        function: a module from one-hot vectors ``(..., V, K)``, or structures ``(..., *event)``, to ``(...)``.

    Raises:
        ValueError: when called, if there are more than 100,000 outcomes.

    Example:
        >>> import torch
        >>> from logprob.objectives import SquaredDistance
        >>> from logprob.simplex import ConcreteVariables
        >>> metric = ExpectedValue(SquaredDistance([1.0, 0.4, 0.0]))
        >>> metric(ConcreteVariables(3, 2), Batch(torch.zeros(1, 1)))
        {'expected_value': 1.2599...}
    """

    function: nn.Module

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """The expectation under the model's present parameters."""
        law: Any = model(batch.context)
        value = Enumeration()(law, self.function)
        found = {"expected_value": value.item()}
        if getattr(law, "has_enumerate_support", False):
            found["optimality_gap"] = found["expected_value"] - self.function(law.enumerate_support()).min().item()
        return found
