"""What all relaxations of a categorical variable share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import OneHotCategorical

from logprob.distributions import IntractableError, UnnormalizedDistribution
from logprob.distributions.pyro_interface import PyroInterface
from logprob.gradients.category import harden, with_backward_of
from logprob.simplex.settings import computing_dtype


def one_hot_forward(relaxed: Tensor) -> Tensor:
    """The one-hot vector of the largest entry, exactly, with the gradient of ``relaxed`` itself.

    Example:
        >>> import torch
        >>> one_hot_forward(torch.tensor([0.2, 0.7, 0.1]))
        tensor([0., 1., 0.])
    """
    return with_backward_of(harden(relaxed), relaxed)


def density_of_ratios(other: Any, event_shape: torch.Size) -> Callable[[Tensor], Tensor]:
    """``other.log_prob_of_ratios``, of a law with the same categories.

    Raises:
        TypeError: if it has none.
        ValueError: if it has another number of categories.
    """
    density: Callable[[Tensor], Tensor] | None = getattr(other, "log_prob_of_ratios", None)
    if density is None:
        raise TypeError(
            f"{type(other).__name__} has no log_prob_of_ratios, by which log_ratio compares laws; use one of "
            "logprob.simplex, such as Concrete for torch's RelaxedOneHotCategorical"
        )
    if other.event_shape != event_shape:
        raise ValueError(f"expected a law over {event_shape[0]} categories, got one over {other.event_shape[0]}")
    return density


class RelaxedOneHot(PyroInterface, UnnormalizedDistribution):
    """A reparameterised law on the simplex that approaches one-hot vectors as its temperature goes to 0.

    A sample is ``softmax(scores / temperature)``. The *category* is the argmax of the scores; its law does not depend
    on the temperature at which the scores are relaxed, and the argmax of the sample is the same.

    A subclass implements :meth:`draw_noise`, :meth:`scores`, ``log_prob`` and, where they are known, :attr:`logits`
    and :meth:`noise_given`. Densities are those of the first K - 1 coordinates. ``pyro.sample`` takes it as it is.
    """

    has_rsample = True
    temperature: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._introduce()

    @abstractmethod
    def draw_noise(self, sample_shape: Any = ()) -> Tensor:
        """Parameter-free noise of one draw: whatever :meth:`scores` takes."""

    @abstractmethod
    def scores(self, noise: Tensor) -> Tensor:
        """Scores ``(..., K)`` of some noise, differentiable with respect to the parameters."""

    def noise_given(self, category: Tensor) -> Tensor:
        """Noise from its law given the category, a differentiable function of the parameters.

        Args:
            category: one-hot, ``(..., K)``.

        Raises:
            IntractableError: if that law cannot be drawn from.
        """
        raise IntractableError(f"{type(self).__name__} cannot draw noise given a category")

    def parameters(self) -> tuple[Tensor, ...]:
        """The tensors that gradients are taken to, ``batch_shape + (...,)``, as :meth:`with_parameters` takes them.

        Raises:
            IntractableError: if the law does not name them.
        """
        raise IntractableError(f"{type(self).__name__} does not name the tensors that its gradient is taken to")

    def with_parameters(self, *parameters: Tensor) -> RelaxedOneHot:
        """The law of the same settings at other :meth:`parameters`, whose batch shape it takes on.

        Raises:
            IntractableError: if the law does not name them.
        """
        raise IntractableError(f"{type(self).__name__} does not name the tensors that its gradient is taken to")

    def straight_through(self, sample_shape: Any = ()) -> Tensor:
        """One-hot vectors of the categories of relaxed samples; the backward pass is that of the relaxed samples."""
        # In half precision entries of a rounded sample are equal, and the first of them would win too often.
        own = self.parameters()
        wide = self.with_parameters(*(part.to(computing_dtype(part.dtype)) for part in own))
        return one_hot_forward(wide.rsample(sample_shape)).to(own[0].dtype)

    @property
    def logits(self) -> Tensor:
        """Log-probabilities of the categories in nats, normalised, ``batch_shape + (K,)``; differentiable.

        Raises:
            IntractableError: if they have no closed form or quadrature.
        """
        raise IntractableError(f"{type(self).__name__} has no category probabilities in closed form")

    @property
    def probs(self) -> Tensor:
        """Probabilities of the categories, ``batch_shape + (K,)``."""
        return self.logits.exp()

    @property
    def mode(self) -> Tensor:
        """One-hot vector of the most probable category."""
        return F.one_hot(self.logits.argmax(-1), self.event_shape[0]).to(self.logits)

    def to_categorical(self) -> OneHotCategorical:
        """The exact law of the category."""
        return OneHotCategorical(logits=self.logits, validate_args=False)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """``log_prob``: the density is normalised."""
        return self.log_prob(value)

    @property
    def log_partition(self) -> Tensor:
        """Zero: the density is normalised."""
        return self.temperature.new_zeros(()).expand(self.batch_shape)
