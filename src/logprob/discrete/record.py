"""What a finite difference did in the last backward pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from logprob.discrete.attach import tell
from logprob.discrete.steps import Outcome


class Diagnostics(NamedTuple):
    """The last backward pass in numbers.

    Attributes:
        density: mean number of coordinates that the difference of a sample changed.
        zero_share: share of the samples whose gradient was zero.
        step_quantiles: 5 %, 50 % and 95 % quantiles of ``lambda`` over instances.
        solves: rows that the solver was asked about, forward and backward, per instance.
    """

    density: float
    zero_share: float
    step_quantiles: tuple[float, float, float]
    solves: float


class Record:
    """Holds what the last backward pass found, and makes numbers of it when it is read: a step costs nothing more.

    Compiled code leaves none.
    """

    def __init__(self) -> None:
        self._found: tuple[Tensor, ...] = ()
        self._samples, self._sides, self._all = 0, 0, True

    def add(self, outcome: Outcome, inverse: Tensor, sides: int, in_torch: bool) -> None:
        """Replace what is held; ``sides`` are the solves of a row in the backward pass."""
        if not torch.compiler.is_compiling():
            self._samples, self._sides, self._all = len(outcome.changed), sides, in_torch
            tell(self._keep, outcome.changed, outcome.active, inverse.flatten())

    def _keep(self, *found: Tensor) -> None:
        self._found = found

    def read(self) -> Diagnostics:
        """The numbers, on the host.

        Raises:
            RuntimeError: if there was no backward pass.
        """
        if not self._found:
            raise RuntimeError("expected a backward pass before its diagnostics; compiled code leaves none")
        changed, active, inverse = (found.cpu().double() for found in self._found)
        steps = 1 / inverse[inverse > 0]  # instances without a gradient have no step
        levels = steps.new_tensor([0.05, 0.5, 0.95])
        low, middle, high = torch.quantile(steps, levels).tolist() if len(steps) else [0.0] * 3
        solves = self._samples * (1 + self._sides * (1.0 if self._all else active.mean().item()))
        unchanged = (changed == 0).double().mean().item()
        return Diagnostics(changed.mean().item(), unchanged, (low, middle, high), solves)
