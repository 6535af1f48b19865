"""Input units: the functions of single variables at the leaves, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from logprob.circuits.gram import Gram
from logprob.circuits.initializers import Initializer
from logprob.circuits.scaled import Scaled
from logprob.circuits.signed_log import SignedLog

Tensors = Mapping[str, Tensor]


class InputFamily(ABC):
    """A family of functions ``f_k(x)`` of one variable; a description without state.

    Its parameters are tensors whose first axis counts slots (one slot for each input region and variable) and
    whose second counts units K. ``x`` always comes as ``(S, B)``, one row a slot.
    """

    linear: tuple[str, ...] = ()
    """Names of the parameters in which ``f`` is linear; a circuit of positive weights stores their logarithms."""

    states: int | None = None
    """Number of states of a discrete variable, coded ``0..states-1``; None if it is continuous."""

    @abstractmethod
    def parameters(self, slots: int, units: int, init: Initializer) -> dict[str, Tensor]:
        """Initial parameters, each of shape ``(S, K, ...)``."""

    def buffers(self, slots: int) -> dict[str, Tensor]:
        """Constants that are kept with the parameters, each of shape ``(S, ...)``."""
        return {}

    def fit_buffers(self, x: Tensor) -> dict[str, Tensor]:
        """Those constants, found from training rows ``(S, N)``, NaN where missing."""
        return {}

    def anywhere(self, theta: Tensors) -> Tensor | float:
        """A point of the support, ``(S, 1)`` or a number: what stands in for a missing value."""
        return 0.0

    @abstractmethod
    def values(self, theta: Tensors, x: Tensor) -> Scaled:
        """``f_k(x)`` of shape ``(S, B, K)``."""

    @abstractmethod
    def log_values(self, theta: Tensors, x: Tensor) -> SignedLog:
        """Sign and log-magnitude of ``f_k(x)``, ``(S, B, K)``."""

    @abstractmethod
    def gram(self, theta: Tensors) -> Gram:
        """``int f_i f_j``, of shape ``(S, 1, K, K)``."""

    @abstractmethod
    def integral(self, theta: Tensors) -> Scaled:
        """``int f_k``, of shape ``(S, 1, K)``."""
