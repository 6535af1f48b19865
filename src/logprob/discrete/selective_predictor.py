"""A prediction that may look at k of the tokens only, and so shows what it is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from logprob.discrete.k_subset import KSubset
from logprob.distributions import DistributionModule
from logprob.distributions.latent import check_counts
from logprob.nn import MaskedMeanPredictor, TokenSelector, WordVectors

PADDING = 0
# Padding scores this much below anything that the selector says: no noise of a standard deviation of a few makes up for
# it, and it does not outweigh the tokens in a norm of the scores.
MARGIN = 20.0


class SelectivePredictor(DistributionModule):
    """A selector scores the tokens of a text; k of them are drawn; a predictor sees the mean of those, and no other.

    Token 0 is padding. It is drawn only where a text has fewer than k tokens, and says nothing even then.

    Args:
        categories: size of the vocabulary, padding included.
        k: tokens to look at.
        words: makes a network of ``(categories,)`` that gives tokens their vectors, and says their ``dimensions``.
        selector: makes a network of ``(dimensions,)`` to be called with vectors ``(B, T, dimensions)`` and a mask.
        predictor: makes a network of ``(dimensions,)`` to be called with vectors and weights ``(..., B, T)``.

    Raises:
        ValueError: if a number is below 1.

    References:
        Chen, Song, Wainwright and Jordan, "Learning to Explain", ICML 2018.

    Example:
        >>> model = SelectivePredictor(100, k=2)
        >>> x = torch.tensor([[0, 0, 5, 17, 3], [9, 8, 7, 6, 5]])
        >>> z = model.selection(x).sample()
        >>> z[0, :2], model.predict(x, z).shape
        (tensor([0., 0.]), torch.Size([2]))
    """

    def __init__(
        self,
        categories: int,
        k: int,
        words: Callable[[int], nn.Module] = WordVectors,
        selector: Callable[[int], nn.Module] = TokenSelector,
        predictor: Callable[[int], nn.Module] = MaskedMeanPredictor,
    ) -> None:
        super().__init__()
        check_counts(categories=categories, k=k)
        self.categories, self.k = categories, k
        self.words = words(categories)
        dimensions: Any = self.words.dimensions
        self.selector, self.predictor = selector(dimensions), predictor(dimensions)

    def initialize(self, x: Tensor) -> None:
        """Look at training rows; nothing depends on them.

        Raises:
            ValueError: if they are no tokens of the vocabulary, or fewer than k.
        """
        if x.is_floating_point() or x.min() < 0 or x.max() >= self.categories or x.shape[-1] < self.k:
            raise ValueError(
                f"expected rows of {self.k} or more integers from 0 to {self.categories - 1}, got {x.dtype} of shape "
                f"{tuple(x.shape)} from {x.min().item()} to {x.max().item()}"
            )

    def forward(self, context: Tensor | None = None) -> KSubset:
        """The law of the tokens that are looked at, given texts ``(B, T)``.

        Raises:
            ValueError: if there is no text.
        """
        if context is None:
            raise ValueError("a selection needs texts, got none")
        return self.selection(context)

    def selection(self, x: Tensor) -> KSubset:
        """The law of the tokens that are looked at in texts ``(B, T)``."""
        return KSubset(self.scores(x), self.k)

    def scores(self, x: Tensor) -> Tensor:
        """Scores ``(B, T)`` of the tokens; those of padding are constants below all others."""
        mask = x != PADDING
        scores: Tensor = self.selector(self.words(x), mask)
        return torch.where(mask, scores, scores.detach().amin(-1, keepdim=True) - MARGIN)

    def predict(self, x: Tensor, z: Tensor) -> Tensor:
        """Predictions ``(..., B)`` from the tokens ``z``, ``(..., B, T)``, of texts ``(B, T)``."""
        weights = z * (x != PADDING) / self.k
        prediction: Tensor = self.predictor(self.words(x), weights)
        return prediction
