"""Random perturbations of scores."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Generator = torch.Generator | None
Device = torch.device | str | None

EULER = 0.5772156649015329  # mean of a standard Gumbel


class Noise(ABC):
    """Noise of one law, the same for every score. Small, immutable, picklable.

    One of your own says how to draw, in `_draw`. Only score functions and :class:`PerturbedOptimizer` ask for the
    density; the rest works without.

    Example:
        >>> class Laplace(Noise):
        ...     mean, std, symmetric = 0.0, 2**0.5, True
        ...     def _draw(self, shape, generator, dtype, device):
        ...         one, other = torch.empty(2, *shape, dtype=dtype, device=device).exponential_(generator=generator)
        ...         return one - other
        ...     def log_prob(self, noise):
        ...         return -noise.abs() - math.log(2)
        ...     def score(self, noise):
        ...         return noise.sign()
        >>> Laplace().sample((3, 4), dtype=torch.bfloat16).shape
        torch.Size([3, 4])
    """

    @property
    def symmetric(self) -> bool:
        """Whether noise and its negative have the same law."""
        return False

    @property
    @abstractmethod
    def mean(self) -> float:
        """Mean of one number."""

    @property
    @abstractmethod
    def std(self) -> float:
        """Standard deviation of one number."""

    def sample(
        self,
        shape: torch.Size | tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Independent draws, all finite; half precisions are drawn in float32 and cast.

        Args:
            shape: of the noise.
            generator: of random numbers; torch's default one if omitted.
            dtype: of the noise; torch's default if omitted.
            device: of the noise, which is that of the generator.
        """
        dtype = dtype or torch.get_default_dtype()
        return self._draw(torch.Size(shape), generator, torch.promote_types(dtype, torch.float32), device).to(dtype)

    def _draw(self, shape: torch.Size, generator: Generator, dtype: torch.dtype, device: Device) -> Tensor:
        """Independent draws in float32 or float64, which `sample` casts."""
        raise NotImplementedError

    @abstractmethod
    def log_prob(self, noise: Tensor) -> Tensor:
        """Log-density of each number, in nats.

        Raises:
            IntractableError: if it has no closed form.
        """

    @abstractmethod
    def score(self, noise: Tensor) -> Tensor:
        """``-d log_prob / d noise`` of each number: what weighs a sample in a score-function gradient.

        Raises:
            IntractableError: if it has no closed form.
        """


@dataclass(frozen=True)
class Gumbel(Noise):
    """Gumbel noise, ``-log(-log u)`` of a uniform u: the largest of n perturbed scores has the law ``softmax(scores)``.

    Its mean of 0.577 adds to every score. That is harmless where all answers have the same number of ones; where they
    do not, as on paths, it changes which are likely, and ``centred=True`` takes it off. Location and scale are those
    of the scores and of the temperature beside them.

    Args:
        centred: take off the mean.

    Example:
        >>> noise = Gumbel(centred=True).sample((1000, 1000), generator=torch.Generator().manual_seed(0))
        >>> noise.mean().abs() < 0.01
        tensor(True)
    """

    centred: bool = False

    @property
    def mean(self) -> float:
        """Euler's constant, or 0."""
        return EULER - self._shift

    @property
    def std(self) -> float:
        """``pi / sqrt(6)``."""
        return math.pi / math.sqrt(6)

    def _draw(self, shape: torch.Size, generator: Generator, dtype: torch.dtype, device: Device) -> Tensor:
        noise = standard_gumbel(shape, generator, dtype, device)
        return noise - EULER if self.centred else noise

    def log_prob(self, noise: Tensor) -> Tensor:
        """``-x - exp(-x)``."""
        x = noise + self._shift
        return -x - (-x).exp()

    def score(self, noise: Tensor) -> Tensor:
        """``1 - exp(-x)``."""
        return -torch.expm1(-(noise + self._shift))

    @property
    def _shift(self) -> float:
        return EULER if self.centred else 0.0


@dataclass(frozen=True)
class Normal(Noise):
    """Standard normal noise.

    Example:
        >>> Normal().score(torch.tensor([0.5, -2.0]))
        tensor([ 0.5000, -2.0000])
    """

    @property
    def symmetric(self) -> bool:
        """True."""
        return True

    @property
    def mean(self) -> float:
        """0."""
        return 0.0

    @property
    def std(self) -> float:
        """1."""
        return 1.0

    def _draw(self, shape: torch.Size, generator: Generator, dtype: torch.dtype, device: Device) -> Tensor:
        return torch.randn(shape, dtype=dtype, device=device, **_given(generator))

    def log_prob(self, noise: Tensor) -> Tensor:
        """``-x^2 / 2 - log(2 pi) / 2``."""
        return -0.5 * noise.square() - 0.5 * math.log(2 * math.pi)

    def score(self, noise: Tensor) -> Tensor:
        """``x``."""
        return noise


@dataclass(frozen=True)
class Logistic(Noise):
    """Standard logistic noise, ``log u - log(1 - u)``, the difference of two Gumbels.

    Bits that are on where ``scores + noise > 0`` have the probabilities ``sigmoid(scores)``.

    Example:
        >>> Logistic().score(torch.tensor([0.0]))
        tensor([0.])
    """

    @property
    def symmetric(self) -> bool:
        """True."""
        return True

    @property
    def mean(self) -> float:
        """0."""
        return 0.0

    @property
    def std(self) -> float:
        """``pi / sqrt(3)``."""
        return math.pi / math.sqrt(3)

    def _draw(self, shape: torch.Size, generator: Generator, dtype: torch.dtype, device: Device) -> Tensor:
        u = _uniform(shape, generator, dtype, device)
        return u.log() - torch.log1p(-u)

    def log_prob(self, noise: Tensor) -> Tensor:
        """``-x - 2 log(1 + exp(-x))``."""
        return -noise - 2 * F.softplus(-noise)

    def score(self, noise: Tensor) -> Tensor:
        """``tanh(x / 2)``."""
        return (noise / 2).tanh()


def standard_gumbel(shape: torch.Size, generator: Generator, dtype: torch.dtype, device: Device) -> Tensor:
    """``-log(-log u)``, in float32 or float64."""
    return _uniform(shape, generator, dtype, device).log_().neg_().log_().neg_()


def _uniform(shape: torch.Size, generator: Generator, dtype: torch.dtype, device: Device) -> Tensor:
    """Uniform numbers inside the open unit interval, in float32 or float64.

    ``torch.rand`` gives multiples of ``eps / 2`` below 1; of these 0 becomes the middle of its cell.
    """
    u = torch.rand(shape, dtype=dtype, device=device, **_given(generator))
    return u.clamp(min=torch.finfo(dtype).eps / 4)


def _given(generator: Generator) -> dict[str, Any]:
    """The argument, if there is one: compiled code of any shape must not even say that there is none."""
    return {} if generator is None else {"generator": generator}
