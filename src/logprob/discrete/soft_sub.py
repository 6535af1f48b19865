"""A subset relaxed as k softmax choices, one after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from logprob.discrete.relaxation import Relaxation, subset_size


class SoftSub(Relaxation):
    """Relaxed weighted reservoir sampling: k soft choices of which each avoids those before, summed, for k of n.

    With perturbed scores u, for t = 1 ... k::

        p_t = softmax(w_t / temperature)        w_{t+1} = w_t + log(1 - p_t)        w_1 = u        z = sum_t p_t

    The sum of z is k; an entry can be somewhat above 1.

    Args:
        temperature: of the relaxation, > 0.
        hard: samples are answers, with the gradient of the relaxed sample.
        accumulate: as published. Without, ``w_{t+1} = u + log(1 - p_t)`` forgets all choices but the last, as a widely
            copied program does; two choices may then be one item.

    Raises:
        ValueError: if the temperature is not positive, or the solver has no k.

    References:
        Xie and Ermon, "Reparameterizable Subset Sampling via Continuous Relaxations", IJCAI 2019.

    Example:
        >>> from logprob.discrete.perturb_and_map import PerturbAndMAP
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> z = PerturbAndMAP(torch.zeros(3, 9), TopK(4), gradient=SoftSub(0.5)).rsample()
        >>> z.shape, z.sum(-1).round()
        (torch.Size([3, 9]), tensor([4., 4., 4.]))
    """

    def __init__(self, temperature: float = 1.0, hard: bool = False, accumulate: bool = True) -> None:
        super().__init__(temperature, hard)
        self.accumulate = accumulate

    def _relax(self, q: Any, scores: Tensor) -> Tensor:
        total, present = torch.zeros_like(scores), scores
        for _ in range(subset_size(q)):
            choice = present.softmax(-1)
            total = total + choice
            left = (1 - choice).clamp(min=torch.finfo(scores.dtype).tiny)  # a choice may be rounded to 1
            present = (present if self.accumulate else scores) + left.log() / self.temperature
        return total
