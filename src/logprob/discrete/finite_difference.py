"""The backward pass of implicit maximum likelihood: solve again for scores moved along the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from logprob.discrete.record import Record
from logprob.discrete.rows import as_rows
from logprob.discrete.steps import Outcome, Slope, StepSize

Difference = Literal["forward", "central"]


@dataclass(frozen=True)
class FiniteDifference:
    """The rule of one backward pass, over S samples of N instances with D numbers each.

    With g the gradient with respect to a sample, turned round if the solver minimises::

        forward   (solver(u) - solver(u - lambda g)) / lambda
        central   (solver(u + lambda g) - solver(u - lambda g)) / (2 lambda)

    Both sides are one call of the solver. A sample without gradient gets none. The step learns last: an error before,
    in a solver, leaves it as it was.

    Attributes:
        q: the law, its ``solver`` and ``solve``.
        samples: S.
        step: gives ``lambda``.
        central: whether to move to both sides.
        scaled: whether to divide by ``lambda``.
        factors: of the gradients that come in, and of those that go out.
        record: is told what happened.
    """

    wants_points: ClassVar[bool] = True

    q: Any
    samples: int
    step: StepSize
    central: bool
    scaled: bool
    factors: tuple[float, float]
    record: Record

    def __call__(self, dy: Tensor, points: Tensor, **saved: Tensor) -> Tensor:
        """The gradient with respect to the perturbed scores.

        Args:
            dy: gradient with respect to the samples.
            points: perturbed scores.
            saved: ``scores``; ``base``, what is moved, if that is not the points; ``z``, the answers at the points, if
                they are one side; ``about_law``, for the step.
        """
        slope = self._slope(dy.to(points.dtype))
        move = self.step(slope, self._rows(points), as_rows(saved["scores"], 1, self.q.solver.event_dim))
        with torch.no_grad():
            outcome = self._solve(points, move.offset, slope.peak, saved)
        divisor = move.inverse if self.scaled else (move.inverse != 0).to(points.dtype)
        divisor = divisor + 0 * slope.peak  # NaN where the gradient is not finite
        gradient = outcome.difference * (divisor * self._signed_share())
        self.record.add(outcome, move.inverse, 1 if "z" in saved else 2, self.q.solver.in_torch)
        self.step.learn(outcome)
        return gradient.reshape(points.shape)

    def _slope(self, dy: Tensor) -> Slope:
        rows = self._rows(dy)
        rows = rows if self.factors[0] == 1 else rows * self.factors[0]
        return Slope(rows, rows.detach().abs().amax(-1, keepdim=True))

    def _solve(self, points: Tensor, offset: Tensor, peak: Tensor, saved: dict[str, Tensor]) -> Outcome:
        """Ask the solver on both sides, and compare."""
        active = (peak > 0) & (peak < torch.inf)
        offset = offset.nan_to_num(0.0, 0.0, 0.0).reshape(points.shape)
        left, right = map(self._rows, self._sides(points, offset, active, saved))
        difference = left - right
        if "base" in saved or not self.q.solver.in_torch:  # else it is 0 where nothing moved
            difference = difference * active
        changed = difference.abs() if self.q.solver.binary else (difference != 0).to(difference.dtype)
        about_law = saved.get("about_law")
        return Outcome(left, right, difference, changed.sum(-1), active.squeeze(-1), self.central, about_law)

    def _sides(self, points: Tensor, offset: Tensor, active: Tensor, saved: dict[str, Tensor]) -> Any:
        """The answers on both sides of the difference, of the shape of the points."""
        base, solver = saved.get("base", points), self.q.solver
        offset = offset if solver.maximize else -offset
        active = active.reshape(points.shape[: points.dim() - solver.event_dim])
        if "z" in saved:
            return saved["z"].to(points.dtype), self.q.solve(base - offset, active)
        signs = offset.new_tensor([1.0 if self.central else 0.0, -1.0]).reshape(2, *(1,) * offset.dim())
        return self.q.solve(torch.addcmul(base, offset, signs), active)

    def _signed_share(self) -> float:
        """What a difference over ``lambda`` counts for."""
        sign = 1 if self.q.solver.maximize else -1
        return sign * self.factors[1] / (2 if self.central else 1)

    def _rows(self, x: Tensor) -> Tensor:
        return as_rows(x, self.samples, self.q.solver.event_dim)
