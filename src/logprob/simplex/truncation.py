"""How many pieces of an endless stick a sample keeps."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


def required_sticks(pieces: Tensor, threshold: float) -> Tensor:
    """The least R with ``sum_{k<=R} pieces_k > threshold``; one more than there are where no sum exceeds it.

    Args:
        pieces: lengths, ``(..., n)``.
        threshold: mass to exceed, in (0, 1).

    Returns:
        Counts in ``1 .. n + 1``, shape ``(...)``, int64.

    Example:
        >>> import torch
        >>> required_sticks(torch.tensor([0.5, 0.25, 0.125]), 0.7).item()
        2
    """
    return below_threshold(pieces, threshold) + 1


def below_threshold(pieces: Tensor, threshold: float) -> Tensor:
    """How many cumulative sums of the pieces are at most the threshold: one less than are needed to exceed it.

    Example:
        >>> import torch
        >>> below_threshold(torch.tensor([0.5, 0.25, 0.125]), 0.7).item()
        1
    """
    return (pieces.cumsum(-1) <= threshold).sum(-1)


def nearest_quantile(counts: Tensor, quantile: float) -> Tensor:
    """The element of all counts at place ``round(quantile / 100 * (N - 1))`` of their order, halves to even.

    Args:
        counts: any shape, not empty.
        quantile: in percent, 0 to 100.

    Example:
        >>> import torch
        >>> nearest_quantile(torch.tensor([3, 1, 2]), 50).item()
        2
    """
    flat = counts.flatten()
    return flat.sort().values[round(quantile / 100 * (len(flat) - 1))]


class Truncation(ABC):
    """A rule for the number of pieces to keep.

    Attributes:
        independent: whether each sample is cut by a look at itself alone; else samples depend on one another and have
            no density.
    """

    independent: ClassVar[bool]
    threshold: float

    @abstractmethod
    def counts(self, pieces: Tensor) -> Tensor:
        """Number of pieces to keep, ``1 .. n``, shape ``(...)``, given ``(..., n)``."""

    @abstractmethod
    def enough(self, rest: Tensor) -> bool:
        """Whether no more pieces need be drawn, given what is left of the stick of every sample."""


@dataclass(frozen=True)
class PerSampleTruncation(Truncation):
    """Each sample keeps as few pieces as have a sum above the threshold.

    The number does not depend on how many pieces may be drawn at most, once there are enough of them. A sample for
    which there are not keeps all.

    Args:
        threshold: in (0, 1).

    Raises:
        ValueError: if it is not.

    Warns:
        UserWarning: if all pieces were not enough for some samples, with their share.

    Example:
        >>> import torch
        >>> PerSampleTruncation(0.7).counts(torch.tensor([[0.5, 0.25, 0.125], [0.9, 0.05, 0.01]]))
        tensor([2, 1])
    """

    independent: ClassVar[bool] = True
    threshold: float = 0.9

    def __post_init__(self) -> None:
        _check_threshold(self.threshold)

    def counts(self, pieces: Tensor) -> Tensor:
        """Counts of each sample."""
        required, most = required_sticks(pieces, self.threshold), pieces.shape[-1]
        missed = required > most
        if missed.any():
            # Whole percents, so that a training run that warns at every step is told a few times only.
            share = math.ceil(100 * missed.double().mean().item())
            warnings.warn(
                f"up to {share} % of the samples keep all {most} pieces, whose sum is not above {self.threshold}; "
                "allow for more sticks or lower the threshold",
                UserWarning,
                stacklevel=2,
            )
        return required.clamp(max=most)

    def enough(self, rest: Tensor) -> bool:
        """Whether every sample is past the threshold, beyond doubt of rounding: by half of what it leaves."""
        return bool((rest < (1 - self.threshold) / 2).all())


@dataclass(frozen=True)
class QuantileTruncation(Truncation):
    """All samples of a draw keep the same number of pieces: a quantile of what they need, less one. As published.

    Each sample is counted by how many cumulative sums are at most the threshold, which is one piece fewer than it takes
    to exceed it; the quantile of these counts over the draw, but at least 1, is kept of all. So the kept mass can be
    anything, and a sample depends on the others of its batch. Use :class:`PerSampleTruncation` unless to reproduce.

    Args:
        threshold: in (0, 1).
        quantile: in percent, 0 to 100. The published runs had 50 for autoencoders, 70, and 75 for mixtures.
        variable: index, in the last batch dimension, of the only variable whose samples are counted; all of them if
            omitted. The published code counted variable 0.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch
        >>> QuantileTruncation(0.7).counts(torch.tensor([[0.5, 0.25, 0.125], [0.2, 0.2, 0.2], [0.9, 0.05, 0.01]]))
        tensor([1, 1, 1])
    """

    independent: ClassVar[bool] = False
    threshold: float = 0.9
    quantile: float = 50.0
    variable: int | None = None

    def __post_init__(self) -> None:
        _check_threshold(self.threshold)
        if not 0 <= self.quantile <= 100:
            raise ValueError(f"quantile must be in percent, 0 to 100, got {self.quantile}")

    def counts(self, pieces: Tensor) -> Tensor:
        """The one count, for every sample."""
        counted = below_threshold(pieces, self.threshold)
        if not counted.numel():
            return counted
        chosen = counted if self.variable is None else counted[..., self.variable]
        return nearest_quantile(chosen, self.quantile).clamp(min=1).expand_as(counted)

    def enough(self, rest: Tensor) -> bool:
        """Never: the published code draws every stick."""
        return False


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be in (0, 1), got {threshold}")
