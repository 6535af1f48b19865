"""What relaxations of discrete answers share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from logprob.discrete.perturb_and_map import check_perturbed
from logprob.discrete.solvers.function import FunctionSolver
from logprob.discrete.solvers.python import PythonSolver
from logprob.gradients import PathwiseGradient
from logprob.gradients.category import with_backward_of
from logprob.gradients.straight_through import check_positive


class Relaxation(PathwiseGradient):
    """A vector near the answers of a solver, a smooth function of the perturbed scores that the solver would see.

    With ``u = q.scores + q.temperature * noise`` a sample is ``relax(u / temperature)``; the lower the temperature, the
    closer it is to the answer ``solver(u)``. In evaluation mode a sample is that answer, without gradient. It is a
    biased gradient for the law of the answers, and no solver is called in training unless ``hard`` is set.

    The mask of an instance, if there is one, is kept: what is left out is relaxed to 0.

    Args:
        temperature: of the relaxation, > 0; an attribute that may be lowered during training.
        hard: let samples be the answers, with the gradient of the relaxed sample of the same noise: straight-through.

    Raises:
        ValueError: if the temperature is not positive.
    """

    def __init__(self, temperature: float = 1.0, hard: bool = False) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.hard = hard

    @property
    def value(self) -> Literal["one-hot", "relaxed"]:  # type: ignore[override]
        """Whether functions see discrete or relaxed samples."""
        return "one-hot" if self.hard or not self.training else "relaxed"

    def rsample(self, q: Any, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Samples ``sample_shape + batch_shape + event_shape`` of a `PerturbAndMAP` law.

        Raises:
            TypeError: if q is another law.
            ValueError: if the solver of ``q`` is not one for which this is a relaxation.
        """
        check_perturbed(q, self)
        points = self._points(q, sample_shape)
        if not self.training:
            return self._answer(q, points).to(q.scores.dtype)
        soft = self._relax(q, _without_masked(q, points / self.temperature))
        sample = with_backward_of(self._answer(q, points), soft) if self.hard else soft
        return sample.to(q.scores.dtype)

    @abstractmethod
    def _relax(self, q: Any, scores: Tensor) -> Tensor:
        """The relaxed sample for perturbed scores over the temperature."""

    def _points(self, q: Any, sample_shape: tuple[int, ...]) -> Tensor:
        """Perturbed scores, ``sample_shape + batch_shape + event_shape``."""
        points: Tensor = q.perturb(q.draw_noise(sample_shape))
        return points

    def _answer(self, q: Any, points: Tensor) -> Tensor:
        """The discrete sample of the same noise."""
        answer: Tensor = q.solve(points.detach())
        return answer


def subset_size(q: Any) -> int:
    """The number of ones k in an answer, of the solver of ``q``.

    Raises:
        ValueError: if there is none, or if instances have each their own.
    """
    if "k" in q.instance:
        raise ValueError("expected one k for all instances, which TopK(k) gives, got a tensor of them")
    if not hasattr(q.solver, "k"):
        raise ValueError(f"expected a solver with a number of ones k, such as TopK, got {type(q.solver).__name__}")
    return int(q.solver.k)


def finds(q: Any, kind: type) -> bool:
    """Whether the solver of ``q`` is of a kind; a function of the user's may be of any."""
    return isinstance(q.solver, (kind, FunctionSolver, PythonSolver))


def _without_masked(q: Any, scores: Tensor) -> Tensor:
    """Scores of -inf for what the mask leaves out."""
    mask = q.instance.get("mask")
    return scores if mask is None else scores.masked_fill(~mask, -torch.inf)
