"""What every solver is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from logprob.distributions import IntractableError


class Solver(ABC):
    """``argmax_{z in C} <z, scores>`` of every instance of a batch, where C is a finite set.

    Solvers are small, immutable and picklable; most are frozen dataclasses. Two calls with the same scores give the
    same answer, ties included, on every device.

    Attributes:
        event_dim: trailing dimensions of the scores of one instance: 1 for a vector, 2 for a grid or a matrix.
        maximize: False if ``<z, scores>`` is minimised, as the length of a path is; the scores are then costs.
        binary: whether every entry of an answer is 0 or 1.
        in_torch: whether it is made of torch operations, on the device of the scores; others see NumPy arrays.
    """

    event_dim: int = 1
    maximize: bool = True
    binary: ClassVar[bool] = True
    in_torch: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, scores: Tensor, **instance: Any) -> Tensor:
        """Solve every instance.

        Args:
            scores: shape ``(*batch, *event)``, any batch shape.
            instance: what else describes the instances; tensors have the batch shape in front.

        Returns:
            z of the shape, type and device of ``scores``, without gradient.
        """

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All of C, shape ``(M, *event)``, where it is small enough to be listed.

        Raises:
            IntractableError: if it is not.
        """
        raise IntractableError(f"{type(self).__name__} cannot list its states; estimate from samples instead")
