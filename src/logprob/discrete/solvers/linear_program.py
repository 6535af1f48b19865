"""The best corner of a polytope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.python import PythonSolver
from logprob.discrete.solvers.refusal import check_scores


@dataclass(frozen=True, eq=False)
class LinearProgram(Solver):
    """``argmax <z, scores>`` where ``A z <= b``, ``E z = f`` and ``lower <= z <= upper``: a corner of the polytope.

    The simplex method of HiGHS, by scipy, one instance after the other. Where the matrix is totally unimodular, as
    those of flows and matchings, all corners are integers; the answers are not rounded.

    Args:
        A: rows of inequalities, ``(m, n)``; None for none.
        b: their bounds, ``(m,)``.
        E: rows of equations, ``(p, n)``; None for none.
        f: their right sides, ``(p,)``.
        lower: of every variable.
        upper: of every variable.
        maximize: False for ``argmin``; the scores are then costs.

    Raises:
        RuntimeError: if an instance has no solution, or an unbounded one, or a score is not finite.

    Example:
        >>> import torch
        >>> LinearProgram(A=[[1.0, 1.0]], b=[1.5])(torch.tensor([3.0, 1.0]))
        tensor([1.0000, 0.5000])
    """

    in_torch: ClassVar[bool] = False
    binary: ClassVar[bool] = False

    A: ArrayLike | None = None
    b: ArrayLike | None = None
    E: ArrayLike | None = None
    f: ArrayLike | None = None
    lower: float = 0.0
    upper: float = 1.0
    maximize: bool = True

    def __call__(self, scores: Tensor, **unknown: Any) -> Tensor:
        """Solve every instance; see the class."""
        check_scores(self, scores, 1, unknown)
        return PythonSolver(_optimum, maximize=self.maximize, binary=False)(scores, program=self)


def _optimum(scores: NDArray[Any], program: LinearProgram) -> NDArray[Any]:
    costs = -scores if program.maximize else scores
    bounds = (program.lower, program.upper)
    found = linprog(costs.astype(np.float64), program.A, program.b, program.E, program.f, bounds, method="highs-ds")
    if not found.success:
        raise ValueError(found.message)
    return np.asarray(found.x, dtype=scores.dtype)
