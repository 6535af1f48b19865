"""The law of what a solver says to perturbed scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.noise import Noise
from logprob.discrete.solvers import Solver
from logprob.distributions import UnnormalizedDistribution
from logprob.gradients import PathwiseGradient


class PerturbAndMAP(UnnormalizedDistribution):
    """CONTRACT ONLY. z = solver(scores + temperature * noise).

    batch_shape + event_shape = scores.shape; event_shape is its last ``solver.event_dim`` dimensions.
    """

    has_rsample = True

    scores: Tensor
    solver: Solver
    noise: Noise | None
    temperature: float | Tensor
    gradient: PathwiseGradient
    instance: Mapping[str, Any]
    generator: torch.Generator | None

    def draw_noise(self, sample_shape: Any = ()) -> Tensor:
        """Noise of unit temperature, ``sample_shape + batch_shape + event_shape``; zeros if there is none."""
        raise NotImplementedError

    def solve(self, scores: Tensor) -> Tensor:
        """The solver's answers to scores ``sample_shape + batch_shape + event_shape``; no gradient.

        One call of the solver: sample and batch dimensions are made one, instance tensors are repeated.
        """
        raise NotImplementedError
