"""Noise that multiplies costs instead of adding to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from logprob.discrete.solvers.base import Solver


@dataclass(frozen=True)
class OfLogScores(Solver):
    """A solver that is given the logarithms of positive scores, so that noise keeps their sign.

    ``PerturbAndMAP(costs.log(), OfLogScores(solver), Normal(), sigma)`` solves for ``costs * exp(sigma * noise)``: the
    multiplicative perturbation of costs that must stay positive, as those of paths. The gradient reaches the costs
    through their logarithm. A factor that all costs share, such as ``exp(-sigma^2 / 2)``, changes no answer.

    Args:
        solver: for the scores themselves.

    Example:
        >>> import torch
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> OfLogScores(TopK(1))(torch.tensor([0.1, 3.0, 2.0]).log())
        tensor([0., 1., 0.])
    """

    solver: Solver

    def __post_init__(self) -> None:
        for name in ("event_dim", "maximize", "binary", "in_torch"):
            object.__setattr__(self, name, getattr(self.solver, name))

    def __call__(self, scores: Tensor, **instance: Any) -> Tensor:
        """The answer to ``exp(scores)``."""
        return self.solver(scores.detach().exp(), **instance)

    def states(self, event_shape: Any) -> Tensor:
        """Those of the solver."""
        return self.solver.states(event_shape)
