"""A subset relaxed as the mean of a smooth law over subsets."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from logprob.discrete.k_subset import KSubset
from logprob.discrete.relaxation import Relaxation, subset_size


class SoftSubset(Relaxation):
    """Stochastic softmax trick for k of n: the marginals of the exact law of k-subsets with scores ``u / temperature``.

    It maximises ``<z, u> + temperature * H(z)`` over the polytope of k-subsets, where H is the entropy of the law
    ``p proportional to exp <z, u / temperature>`` whose mean is z.

    Args:
        temperature: of the relaxation, > 0.
        hard: samples are answers, with the gradient of the relaxed sample.

    Raises:
        ValueError: if the temperature is not positive, or the solver has no k.

    References:
        Paulus, Choi, Tarlow, Krause and Maddison, "Gradient Estimation with Stochastic Softmax Tricks", NeurIPS 2020.

    Example:
        >>> import torch
        >>> from logprob.discrete.perturb_and_map import PerturbAndMAP
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> PerturbAndMAP(torch.zeros(3, 9), TopK(4), gradient=SoftSubset(0.5)).rsample().sum(-1).round()
        tensor([4., 4., 4.])
    """

    def _relax(self, q: Any, scores: Tensor) -> Tensor:
        return KSubset(scores, subset_size(q)).marginals
