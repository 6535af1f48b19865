"""The best one-to-one assignment of rows to columns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import perm
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.python import PythonSolver
from logprob.discrete.solvers.refusal import check_listable, check_scores


@dataclass(frozen=True)
class Assignment(Solver):
    """Indicator of the best assignment, ``argmax <z, scores>`` over the matchings of m rows with n columns.

    Every row has one column and no column two, or, where there are more rows than columns, the other way round; square
    answers are permutation matrices. A score of -inf forbids a pair. scipy's shortest augmenting paths, O(n^3), one
    instance after the other.

    Raises:
        RuntimeError: if an instance has no assignment, or a score of NaN or +inf.

    References:
        Crouse, *On implementing 2D rectangular assignment algorithms*, IEEE Transactions on Aerospace and Electronic
        Systems 2016.

    Example:
        >>> import torch
        >>> Assignment()(torch.tensor([[3.0, 2.0], [2.0, 0.0]]))
        tensor([[0., 1.],
                [1., 0.]])
    """

    in_torch: ClassVar[bool] = False
    event_dim = 2

    def __call__(self, scores: Tensor, **unknown: Any) -> Tensor:
        """Solve every instance; see the class."""
        check_scores(self, scores, 2, unknown)
        return PythonSolver(_assign, event_dim=2)(scores)

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All matchings of maximal size."""
        m, n = event_shape
        if m > n:
            return self.states((n, m)).mT
        check_listable(self, perm(n, m))
        columns = torch.tensor(list(permutations(range(n), m)), dtype=torch.int64)  # (M, m)
        return torch.nn.functional.one_hot(columns, n).float()


def _assign(scores: NDArray[Any]) -> NDArray[Any]:
    z = np.zeros_like(scores)
    z[linear_sum_assignment(scores, maximize=True)] = 1
    return z
