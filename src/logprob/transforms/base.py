"""An invertible map that gives its value and its log-determinant in one pass."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import transforms


class Transform(transforms.Transform):
    """A bijection ``y = f(x)`` with ``ladj = log|det df/dx|``.

    A subclass declares ``domain`` and ``codomain``, implements :meth:`call_and_ladj` and :meth:`_inverse`, and
    lists the tensors that define it in :meth:`parameters`. Two transforms of one class are equal when those
    tensors are, which is what the closed-form KL rules of torch ask for.
    """

    bijective = True

    @abstractmethod
    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(f(x), log|det df/dx|)``; the second lacks the event dimensions of the domain."""

    @abstractmethod
    def _inverse(self, y: Tensor) -> Tensor:
        """Return the ``x`` with ``f(x) = y``."""

    @abstractmethod
    def parameters(self) -> tuple[Any, ...]:
        """The tensors and numbers that define the map."""

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Log of the absolute Jacobian determinant at ``x``, in nats; ``y`` is not needed."""
        return self.call_and_ladj(x)[1]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Transform) or type(other) is not type(self):
            return False
        return all(_same(a, b) for a, b in zip(self.parameters(), other.parameters(), strict=True))

    __hash__ = None  # type: ignore[assignment]  # equality is by value and tensors can change


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    return bool(a == b)
