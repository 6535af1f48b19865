"""The contract of a gradient estimator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]
Law = TypeVar("Law", bound="CategoricalLaw")


class CategoricalLaw(Protocol):
    """What an estimator may ask of a distribution over one-hot vectors and its relaxation.

    ``scores`` are real numbers of which the largest names the category; ``softmax(scores / temperature)`` is the
    relaxed sample. Shapes are ``sample_shape + batch_shape + (K,)``.
    """

    temperature: Tensor

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the independent variables."""
        ...

    @property
    def event_shape(self) -> torch.Size:
        """``(K,)``."""
        ...

    @property
    def logits(self) -> Tensor:
        """Normalised log-probabilities of the categories, ``batch_shape + (K,)``, differentiable."""
        ...

    def rsample(self, sample_shape: tuple[int, ...] = ...) -> Tensor:
        """Relaxed samples, differentiable."""
        ...

    def draw_noise(self, sample_shape: tuple[int, ...] = ...) -> Tensor:
        """Parameter-free noise, from which :meth:`scores` makes a sample."""
        ...

    def scores(self, noise: Tensor) -> Tensor:
        """The scores of some noise, differentiable."""
        ...

    def noise_given(self, category: Tensor) -> Tensor:
        """Noise drawn from its law given one-hot categories ``(..., K)``, a differentiable function of the parameters.

        Its backward pass is differentiable too.
        """
        ...

    def parameters(self) -> tuple[Tensor, ...]:
        """The tensors that gradients are taken to, each of shape ``batch_shape + event``."""
        ...

    def with_parameters(self: Law, *parameters: Tensor) -> Law:
        """The law of the same temperature at other :meth:`parameters`, whose batch shape it takes on."""
        ...


class ScoredLaw(Protocol):
    """What a score function asks of any other law, over subsets, trees or paths: samples and their log-probability."""

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the independent variables."""
        ...

    @property
    def event_shape(self) -> torch.Size:
        """Shape of one sample."""
        ...

    def draw_with_log_prob(self, sample_shape: tuple[int, ...] = ...) -> tuple[Tensor, Tensor]:
        """Samples ``sample_shape + batch_shape + event_shape`` without gradient, and log-probabilities.

        The latter have shape ``sample_shape + batch_shape``. Their gradient with respect to the parameters is the score
        function of the samples, or of the noise that made them; their value may lack a constant.
        """
        ...


class GradientEstimator(nn.Module, ABC):
    """``gradient(q, f)``: ``f`` at samples of ``q``, with an estimate of the gradient of ``E_q f`` attached.

    The *value* of what is returned is ``f(z)`` for samples ``z`` of ``q``, one number a sample. Its *gradient* reaches
    the parameters of ``q`` by the estimator's rule, and whatever else ``f`` depends on as usual.

    Free parameters of an estimator, such as the temperature of a control variate, take a gradient in the same backward
    pass: that of the squared norm of the estimate, whatever the sign with which ``f`` enters the loss.

    Attributes:
        unbiased: whether the gradient's mean is the gradient of the expectation over categories, for every ``f``.
        value: whether ``f`` is called with one-hot or with relaxed samples.
    """

    unbiased: ClassVar[bool] = False
    value: ClassVar[Literal["one-hot", "relaxed"]] = "one-hot"

    @abstractmethod
    def forward(self, q: Any, f: Function, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Return ``f`` at samples, of shape ``sample_shape + batch``.

        Args:
            q: the distribution, of batch shape ``batch + rest``; a subclass says what it asks of it.
            f: takes ``(sample_shape, *batch, *rest, *event)`` and gives ``(sample_shape, *batch)``: it may join several
                variables, in ``rest``, into one number.
            sample_shape: of independent samples.
        """


class PathwiseGradient(GradientEstimator):
    """An estimator that is a differentiable sample: it can stand wherever a sample is wanted."""

    @abstractmethod
    def rsample(self, q: Any, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Samples ``sample_shape + batch_shape + event_shape`` whose backward pass is the estimator's."""

    def forward(self, q: Any, f: Function, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """``f`` at :meth:`rsample`."""
        return evaluate(f, self.rsample(q, sample_shape), tuple(sample_shape), len(q.event_shape))


def evaluate(f: Function, z: Tensor, sample_shape: tuple[int, ...], event_dim: int = 1) -> Tensor:
    """``f(z)``, one number a sample.

    Raises:
        ValueError: unless its shape is ``sample_shape`` and some, or all, of the further dimensions of ``z`` but the
            last ``event_dim``.
    """
    value = f(z)
    shape = z.shape[: z.dim() - event_dim]
    if value.shape != shape[: value.dim()] or value.dim() < len(sample_shape):
        raise ValueError(
            f"f must give one number for each sample: for samples {tuple(z.shape)} a shape that starts with "
            f"{tuple(sample_shape)} and is the beginning of {tuple(shape)}, got {tuple(value.shape)}"
        )
    return value
