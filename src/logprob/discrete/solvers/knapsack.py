"""The most valuable items that a knapsack holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.hypercube import Hypercube
from logprob.discrete.solvers.refusal import check_scores, refuse


@dataclass(frozen=True)
class Knapsack(Solver):
    """Indicator of the best items, ``argmax <z, scores>`` over z in {0, 1}^n with ``<weights, z> <= capacity``.

    The scores are the values of the items; what is worth nothing or less stays out. Dynamic programming over the
    capacities, all instances at once, O(capacity) an item. Of equally good choices it takes the one with the earlier
    items.

    Args:
        weights: of the n items, integers >= 0.
        capacity: of the knapsack, an integer >= 0.

    Raises:
        ValueError: if weights and scores differ in number, or a score is NaN. Where Python cannot look, as in compiled
            code, its answer is NaN.

    Example:
        >>> import torch
        >>> Knapsack(weights=(3, 2, 2), capacity=4)(torch.tensor([5.0, 3.0, 3.0]))
        tensor([0., 1., 1.])
    """

    weights: tuple[int, ...]
    capacity: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(self.weights))
        if self.capacity < 0 or min(self.weights, default=0) < 0:
            raise ValueError(f"expected weights and a capacity >= 0, got {self.weights} and {self.capacity}")

    def __call__(self, scores: Tensor, **unknown: Any) -> Tensor:
        """Fill every knapsack; see the class."""
        check_scores(self, scores, 1, unknown)
        if scores.shape[-1] != len(self.weights):
            raise ValueError(f"expected the values of {len(self.weights)} items, got {scores.shape[-1]}")
        scores = scores.detach()
        values = scores.float() if scores.dtype.itemsize < 4 else scores
        z = _trace(self._takes(values), self.weights, self.capacity, values)
        return refuse(z.to(scores.dtype), scores.isnan().any(-1), "a score is NaN")

    def _takes(self, values: Tensor) -> list[Tensor]:
        """Whether to take each item, last item first, for every room that is left, ``(*batch, capacity + 1)``."""
        best = values.new_zeros(*values.shape[:-1], self.capacity + 1)
        takes = []
        for item in reversed(range(len(self.weights))):
            value, weight = values[..., item : item + 1], self.weights[item]
            rest = torch.nn.functional.pad(best, (weight, 0), value=-torch.inf)[..., : self.capacity + 1]
            taken = value + rest
            takes.append((taken > best) | ((taken == best) & (value > 0)))
            best = torch.maximum(taken, best)
        return takes

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All sets of items that fit."""
        corners = Hypercube().states(event_shape)
        return corners[corners @ torch.tensor(self.weights, dtype=corners.dtype) <= self.capacity]


def _trace(takes: list[Tensor], weights: tuple[int, ...], capacity: int, values: Tensor) -> Tensor:
    """Go through the items, and take what is best for the room that is left."""
    room = torch.full_like(values[..., :1], capacity, dtype=torch.int64)
    z = []
    for weight, take in zip(weights, reversed(takes), strict=True):
        taken = take.gather(-1, room)
        room = room - weight * taken
        z.append(taken)
    return torch.cat(z, -1) if z else torch.zeros_like(values)
