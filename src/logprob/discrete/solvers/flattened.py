"""A solver of grids or matrices that takes them as vectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.solvers.base import Solver


@dataclass(frozen=True)
class Flattened(Solver):
    """Another solver whose scores and answers are flattened: rows of data are vectors.

    Instance tensors are handed on as they are.

    Args:
        solver: the solver.
        shape: of an event of that solver.

    Raises:
        ValueError: if ``shape`` has not as many dimensions as the events of ``solver``.

    Example:
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> Flattened(TopK(1), (3,))(torch.tensor([0.0, 2.0, 1.0]))
        tensor([0., 1., 0.])
    """

    solver: Solver
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != self.solver.event_dim:
            raise ValueError(
                f"{type(self.solver).__name__} has events of {self.solver.event_dim} dimensions, got shape {self.shape}"
            )
        for name in ("maximize", "binary", "in_torch"):
            object.__setattr__(self, name, getattr(self.solver, name))

    def __call__(self, scores: Tensor, **instance: Any) -> Tensor:
        """Solve every instance ``(..., prod(shape))``."""
        if scores.shape[-1:] != (prod(self.shape),):
            raise ValueError(f"expected scores of shape (..., {prod(self.shape)}), got {tuple(scores.shape)}")
        return self.solver(scores.unflatten(-1, self.shape), **instance).flatten(-len(self.shape))

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All of C, flattened."""
        return self.solver.states(self.shape).flatten(-len(self.shape))
