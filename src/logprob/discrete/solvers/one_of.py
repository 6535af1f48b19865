"""The largest of n."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.refusal import check_scores, refuse


@dataclass(frozen=True)
class OneOf(Solver):
    """One-hot indicator of the largest score, ``argmax <z, scores>`` over the n unit vectors; the first of equals.

    With Gumbel noise it draws from the categorical distribution exactly. For rows of unequal length take ``TopK(1)``,
    which knows masks.

    Raises:
        ValueError: if there are no scores, or one is NaN. Where Python cannot look, as in compiled code, its answer is
            NaN.

    Example:
        >>> import torch
        >>> OneOf()(torch.tensor([1.0, 3.0, 3.0]))
        tensor([0., 1., 0.])
    """

    def __call__(self, scores: Tensor, **unknown: Any) -> Tensor:
        """Choose in every row; see the class."""
        check_scores(self, scores, 1, unknown)
        if scores.shape[-1] == 0:
            raise ValueError("expected at least one score to choose from")
        scores = scores.detach()
        first = scores.argmax(-1, keepdim=True)  # of NaN, if there is one
        z = torch.zeros_like(scores).scatter(-1, first, 1.0)
        return refuse(z, scores.gather(-1, first).isnan().squeeze(-1), "a score is NaN")

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """The n unit vectors."""
        return torch.eye(event_shape[-1])
