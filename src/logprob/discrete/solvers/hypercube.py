"""Independent choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.refusal import check_listable, check_scores, refuse


@dataclass(frozen=True)
class Hypercube(Solver):
    """Indicator of the positive scores, ``argmax <z, scores>`` over z in {0, 1}^n; a score of zero is left out.

    With logistic noise it draws independent Bernoulli variables exactly.

    Raises:
        ValueError: if a score is NaN. Where Python cannot look, as in compiled code, its answer is NaN.

    Example:
        >>> import torch
        >>> Hypercube()(torch.tensor([1.0, -3.0, 0.0, 2.0]))
        tensor([1., 0., 0., 1.])
    """

    def __call__(self, scores: Tensor, **unknown: Any) -> Tensor:
        """Choose everywhere; see the class."""
        check_scores(self, scores, 1, unknown)
        scores = scores.detach()
        return refuse((scores > 0).to(scores.dtype), scores.isnan().any(-1), "a score is NaN")

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All 2^n corners, in the order of counting."""
        (n,) = event_shape
        check_listable(self, 2**n)
        return (torch.arange(2**n).unsqueeze(-1) >> torch.arange(n - 1, -1, -1) & 1).float()
