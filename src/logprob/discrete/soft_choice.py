"""Softmax relaxations: of a choice of one, and of the union of several."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from logprob.discrete.relaxation import Relaxation, finds
from logprob.discrete.solvers.one_of import OneOf


class SoftChoice(Relaxation):
    """Gumbel-softmax, also called Concrete: ``softmax(u / temperature)``, for answers that are one of n.

    Batch dimensions are independent choices. Edges that each have one of several types, for example, are scores
    ``(*batch, edges, types)``.

    Args:
        temperature: of the relaxation, > 0.
        hard: samples are answers, with the gradient of the relaxed sample.

    Raises:
        ValueError: if the temperature is not positive, or the solver chooses more than one.

    References:
        Maddison, Mnih and Teh, "The Concrete Distribution", ICLR 2017; Jang, Gu and Poole, "Categorical
        Reparameterization with Gumbel-Softmax", ICLR 2017.

    Example:
        >>> import torch
        >>> from logprob.discrete.perturb_and_map import PerturbAndMAP
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> PerturbAndMAP(torch.zeros(3, 4), TopK(1), gradient=SoftChoice(0.5)).rsample().sum(-1).round()
        tensor([1., 1., 1.])
    """

    def _relax(self, q: Any, scores: Tensor) -> Tensor:
        if not finds(q, OneOf) and getattr(q.solver, "k", None) != 1:
            raise ValueError(f"expected a solver that chooses one, got {q.solver}; SoftSubset relaxes subsets")
        return scores.softmax(-1)


class MaxOfConcretes(Relaxation):
    """The largest of several independent Gumbel-softmax samples, entry by entry, for answers with several ones.

    ``z_i = max_j softmax(u_j / temperature)_i`` with noise of its own in every draw j. At low temperatures it has a one
    for each *different* choice: at most ``draws`` of them. Learning to explain has as many draws as chosen items; with
    one draw the sample sums to 1. The answer of the same noise is that to ``max_j u_j``.

    Args:
        draws: number of samples, at least 1.
        temperature: of the relaxation, > 0.
        hard: samples are answers, with the gradient of the relaxed sample.

    Raises:
        ValueError: if a number is out of its range.

    References:
        Chen, Song, Wainwright and Jordan, "Learning to Explain", ICML 2018.

    Example:
        >>> import torch
        >>> from logprob.discrete.perturb_and_map import PerturbAndMAP
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> z = PerturbAndMAP(torch.zeros(3, 9), TopK(4), gradient=MaxOfConcretes(4, temperature=0.1)).rsample()
        >>> z.shape, bool((z.sum(-1) < 4 + 1e-5).all())
        (torch.Size([3, 9]), True)
    """

    def __init__(self, draws: int, temperature: float = 1.0, hard: bool = False) -> None:
        super().__init__(temperature, hard)
        if draws < 1:
            raise ValueError(f"expected draws >= 1, got {draws}")
        self.draws = draws

    def _points(self, q: Any, sample_shape: tuple[int, ...]) -> Tensor:
        return super()._points(q, (self.draws, *sample_shape))

    def _relax(self, q: Any, scores: Tensor) -> Tensor:
        return scores.softmax(-1).amax(0)

    def _answer(self, q: Any, points: Tensor) -> Tensor:
        return super()._answer(q, points.amax(0))
