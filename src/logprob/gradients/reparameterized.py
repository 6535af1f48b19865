"""The gradient through a reparameterised sample."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from logprob.gradients.base import CategoricalLaw, PathwiseGradient


class Reparameterized(PathwiseGradient):
    """The reparameterisation gradient, at relaxed samples.

    Unbiased for the expectation over the *relaxed* law; for the expectation over categories it is biased, the less
    the lower the temperature.
    """

    value: ClassVar[Literal["one-hot", "relaxed"]] = "relaxed"

    def rsample(self, q: CategoricalLaw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """``q.rsample(sample_shape)``."""
        return q.rsample(sample_shape)
