"""The two ways in which an inner region combines its children, over any algebra of states."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from torch import Tensor

State = TypeVar("State")


class Algebra(Protocol):
    """What a state can do; the modules ``scaled``, ``signed_log`` and ``gram`` are algebras."""

    def product(self, left: Any, right: Any) -> Any:
        """Unit by unit."""
        ...

    def weighted_sum(self, weight: Tensor, state: Any) -> Any:
        """``y_k = sum_j W_kj h_j``."""
        ...

    def bilinear(self, weight: Tensor, left: Any, right: Any) -> Any:
        """``y_k = sum_ij W_kij a_i b_j``."""
        ...


class CP:
    """``h_k = sum_j W_kj a_j b_j``: weights ``(K_out, K)``, cost ``O(K^2)`` a row and region."""

    @staticmethod
    def weight_shape(out: int, units: int) -> tuple[int, ...]:
        """Shape of one region's weights."""
        return (out, units)

    @staticmethod
    def combine(algebra: Algebra, weight: Tensor, left: State, right: State) -> State:
        """The state of the regions whose children have states ``left`` and ``right``."""
        result: State = algebra.weighted_sum(weight, algebra.product(left, right))
        return result


class Tucker:
    """``h_k = sum_ij W_kij a_i b_j``: weights ``(K_out, K, K)``, cost ``O(K^3)`` a row and region."""

    @staticmethod
    def weight_shape(out: int, units: int) -> tuple[int, ...]:
        """Shape of one region's weights."""
        return (out, units, units)

    @staticmethod
    def combine(algebra: Algebra, weight: Tensor, left: State, right: State) -> State:
        """The state of the regions whose children have states ``left`` and ``right``."""
        result: State = algebra.bilinear(weight, left, right)
        return result


LAYERS: dict[str, type[CP] | type[Tucker]] = {"cp": CP, "tucker": Tucker}
