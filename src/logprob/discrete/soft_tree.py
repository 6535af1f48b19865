"""Spanning trees relaxed as the mean of a smooth law over them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from logprob.discrete.relaxation import Relaxation, finds
from logprob.discrete.solvers.spanning_tree import SpanningTree
from logprob.discrete.spanning_trees import SpanningTrees
from logprob.gradients.straight_through import check_positive


class SoftTree(Relaxation):
    """Stochastic softmax trick for spanning trees: the edge marginals of the exact law with scores ``u / temperature``.

    It maximises ``<z, u> + temperature * H(z)`` over the polytope of spanning trees, where H is the entropy of the law
    ``p proportional to exp <z, u / temperature>`` whose mean is z.

    Args:
        temperature: of the relaxation, > 0.
        hard: samples are trees, with the gradient of the relaxed sample.
        max_range: lift scores ``u / temperature`` that are further than this below the largest one of their graph;
            a lifted edge passes its gradient on to the largest. Published experiments had 15, to keep determinants
            from breaking down; at low temperatures that makes all but a few edges equal. By default none are lifted,
            and a graph that needs an edge more than 700 below its best is refused. Edges of score -inf, which do not
            exist, stay so.

    Raises:
        ValueError: if a number is not positive, the solver finds no trees, or there is no graph with so many edges.

    References:
        Paulus, Choi, Tarlow, Krause and Maddison, "Gradient Estimation with Stochastic Softmax Tricks", NeurIPS 2020.

    Example:
        >>> from logprob.discrete.perturb_and_map import PerturbAndMAP
        >>> from logprob.discrete.solvers.spanning_tree import SpanningTree
        >>> q = PerturbAndMAP(torch.zeros(3, 10), SpanningTree(), gradient=SoftTree(0.5))
        >>> q.rsample().sum(-1).round()  # n - 1 edges
        tensor([4., 4., 4.])
    """

    def __init__(self, temperature: float = 1.0, hard: bool = False, max_range: float | None = None) -> None:
        super().__init__(temperature, hard)
        self.max_range = None if max_range is None else check_positive("max_range", max_range)

    def _relax(self, q: Any, scores: Tensor) -> Tensor:
        if not finds(q, SpanningTree):
            raise ValueError(f"expected a solver that finds the edges of spanning trees, got {q.solver}")
        if self.max_range is not None:
            lifted = torch.maximum(scores, scores.amax(-1, keepdim=True) - self.max_range)
            scores = torch.where(scores == -torch.inf, scores, lifted)
        return SpanningTrees(scores).marginals
