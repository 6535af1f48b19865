"""Categorical variables whose logits are free parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from logprob.distributions import DistributionModule
from logprob.simplex.concrete import Concrete


class ConcreteVariables(DistributionModule):
    """V independent variables of K categories, relaxed by a :class:`Concrete` law; all equally probable at first.

    Args:
        count: number V of variables.
        categories: K, at least 2.
        temperature: of relaxed samples, > 0; it does not change the law of the categories.

    Attributes:
        logits: ``(V, K)``.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> ConcreteVariables(3, 2)().probs
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000],
                [0.5000, 0.5000]], grad_fn=<ExpBackward0>)
    """

    def __init__(self, count: int, categories: int, temperature: float = 0.5) -> None:
        super().__init__()
        if count < 1 or categories < 2 or not temperature > 0:
            raise ValueError(
                f"expected count >= 1, categories >= 2 and temperature > 0, got {count}, {categories} and {temperature}"
            )
        self.logits = nn.Parameter(torch.zeros(count, categories))
        self.temperature = temperature

    def forward(self, context: Tensor | None = None) -> Concrete:
        """The law of the present logits."""
        return Concrete(self.temperature, self.logits, validate_args=False)
