"""Exact samples with the gradient of their marginals."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from logprob.distributions import IntractableError
from logprob.gradients.base import PathwiseGradient
from logprob.gradients.category import with_backward_of


class StraightThroughMarginals(PathwiseGradient):
    """SIMPLE: exact samples, ``z + mu - stop(mu)`` with the marginals ``mu = E z`` of the law.

    The gradient with respect to the scores is ``Cov(z) df/dz``. It is exact for linear ``f``, and biased for others,
    but has little variance: a good choice at few samples. For one-of-n it is the straight-through gradient of softmax.

    The law is any with exact ``sample`` and ``marginals``: `KSubset`, `SpanningTrees`, `Arborescences`.

    References:
        Ahmed, Zeng, Niepert and Van den Broeck, "SIMPLE: A Gradient Estimator for k-Subset Sampling", ICLR 2023.

    Example:
        >>> import torch
        >>> from logprob.discrete.k_subset import KSubset
        >>> scores = torch.zeros(4, requires_grad=True)
        >>> z = StraightThroughMarginals().rsample(KSubset(scores, k=2), (3,))
        >>> (z @ torch.tensor([1.0, 0.0, 0.0, 0.0])).mean().backward()
        >>> scores.grad
        tensor([ 0.2500, -0.0833, -0.0833, -0.0833])
    """

    def rsample(self, q: Any, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Samples ``sample_shape + batch_shape + event_shape``.

        Raises:
            IntractableError: if the law has no exact marginals.
        """
        marginals = getattr(q, "marginals", None)
        if not isinstance(marginals, Tensor):
            name = type(q).__name__
            raise IntractableError(f"{name} has no exact marginals; KSubset, SpanningTrees and Arborescences have them")
        return with_backward_of(q.sample(sample_shape), marginals)
