"""Random perturbations of scores."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Noise(ABC):
    """Independent noise of one law, the same for every score. Small, immutable, picklable.

    Attributes:
        mean: of one number.
        std: standard deviation of one number.
    """

    mean: float
    std: float

    @abstractmethod
    def sample(
        self,
        shape: torch.Size | tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Independent draws; half precisions are drawn in float32 and cast."""

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
