"""When training has stopped improving."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


def improves(value: float, best: float, threshold: float = 0.0) -> bool:
    """Whether ``value`` is lower than ``best`` by more than a fraction ``threshold`` of ``|best|``.

    The bars around ``best`` make the rule right for negative losses, where ``best (1 - threshold) > best``.

    Example:
        >>> improves(-2.0001, -2.0, 1e-3), improves(-2.01, -2.0, 1e-3), improves(1.0, float("inf"), 1e-3)
        (False, True, True)
    """
    if math.isinf(best):
        return value < best
    return value < best - threshold * abs(best)


@dataclass(frozen=True)
class Stopping:
    """Stop a phase when the monitored metric has not improved for ``patience`` epochs.

    Args:
        patience: epochs without improvement that are borne.
        threshold: fraction of ``|best|`` by which a value must be better to count.
    """

    patience: int = 50
    threshold: float = 1e-3

    def __post_init__(self) -> None:
        if self.patience < 1 or self.threshold < 0:
            raise ValueError(f"patience must be at least 1 and threshold at least 0, got {self}")


@dataclass(frozen=True)
class Monitor:
    """The validation metric that chooses the best checkpoint, and drives stopping and plateau schedules.

    Args:
        metric: name of a number that one of the recipe's metrics gives.
        mode: whether higher (``"max"``) or lower (``"min"``) is better.
    """

    metric: str = "log_likelihood"
    mode: Literal["max", "min"] = "max"

    def cost(self, value: float) -> float:
        """``value`` with its sign such that lower is better."""
        return -value if self.mode == "max" else value
