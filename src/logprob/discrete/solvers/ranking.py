"""The ranks of n scores."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import Any, ClassVar

import torch
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.refusal import check_listable, check_scores, refuse


@dataclass(frozen=True)
class Ranking(Solver):
    """Ranks 1, ..., n, the largest score has rank n: ``argmax <z, scores>`` over the permutations z of 1, ..., n.

    Of equal scores the first has the lower rank, as ``scipy.stats.rankdata`` with ``method="ordinal"``. For the matrix
    of the permutation instead of its vector, solve an `Assignment` with scores ``scores_i * j``.

    Raises:
        ValueError: if a score is NaN. Where Python cannot look, as in compiled code, its answer is NaN.

    Example:
        >>> import torch
        >>> Ranking()(torch.tensor([0.3, -1.0, 2.0]))
        tensor([2., 1., 3.])
    """

    binary: ClassVar[bool] = False

    def __call__(self, scores: Tensor, **unknown: Any) -> Tensor:
        """Rank every row; see the class."""
        check_scores(self, scores, 1, unknown)
        scores = scores.detach()
        order = torch.sort(scores, dim=-1, stable=True).indices
        ranks = torch.arange(1, scores.shape[-1] + 1, dtype=scores.dtype, device=scores.device)
        z = torch.zeros_like(scores).scatter(-1, order, ranks.expand(scores.shape))
        return refuse(z, scores.isnan().any(-1), "a score is NaN")

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All n! permutations, in lexicographic order."""
        (n,) = event_shape
        check_listable(self, factorial(n))
        return torch.tensor(list(permutations(range(1, n + 1))), dtype=torch.float32).reshape(-1, n)
