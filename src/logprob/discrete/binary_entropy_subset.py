"""Subsets relaxed as bits that share a threshold."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from logprob.discrete.relaxation import Relaxation, subset_size
from logprob.discrete.solvers.refusal import refuse


class BinaryEntropySubset(Relaxation):
    """Bits that share a threshold, for k of n: ``z = sigmoid(u / temperature - nu)`` with ``sum_i z_i = k``.

    It maximises ``<z, u> + temperature * sum_i H_b(z_i)`` over the polytope of k-subsets, where H_b is the entropy of a
    bit. The threshold nu is found by bisection and differentiated implicitly, any number of times. Scores of
    -inf are left out; others are finite.

    Args:
        temperature: of the relaxation, > 0.
        hard: samples are answers, with the gradient of the relaxed sample.

    Raises:
        ValueError: if the temperature is not positive, or the solver has no k.

    References:
        Amos, Koltun and Kolter, "The Limited Multi-Label Projection Layer", arXiv 1906.08707.

    Example:
        >>> from logprob.discrete.perturb_and_map import PerturbAndMAP
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> PerturbAndMAP(torch.zeros(3, 9), TopK(4), gradient=BinaryEntropySubset(0.5)).rsample().sum(-1).round()
        tensor([4., 4., 4.])
    """

    def _relax(self, q: Any, scores: Tensor) -> Tensor:
        return bits_that_sum_to(scores, subset_size(q))


def bits_that_sum_to(scores: Tensor, k: int) -> Tensor:
    """``sigmoid(scores - nu)`` with the nu for which the last dimension sums to k.

    Args:
        scores: shape ``(*batch, n)``, finite or -inf.
        k: from 0 to n.

    Raises:
        ValueError: if k is out of its range, or a row has fewer than k scores above -inf.

    Example:
        >>> bits_that_sum_to(torch.tensor([0.0, 0.0, 50.0]), 2)
        tensor([0.5000, 0.5000, 1.0000])
    """
    n = scores.shape[-1]
    if not 0 <= k <= n:
        raise ValueError(f"expected k from 0 to n = {n}, got {k}")
    if k == 0:
        return torch.zeros_like(scores)
    bits: Tensor = _BitsThatSumTo.apply(scores, k)
    return bits


class _BitsThatSumTo(Function):
    """Its derivative is made of its own answer, so that further ones come by themselves."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, k: int) -> Tensor:
        there = scores > -torch.inf
        spare = there.sum(-1, keepdim=True) - k
        scores = refuse(scores, spare.squeeze(-1) < 0, f"expected at least k = {k} scores above -inf")
        edge = math.log(k) - spare.clamp(min=1).to(scores).log()  # the threshold is within the scores, shifted by this
        low = scores.masked_fill(~there, torch.inf).amin(-1, keepdim=True) - edge
        high = scores.amax(-1, keepdim=True) - edge
        for _ in range(-2 * round(math.log2(torch.finfo(scores.dtype).eps))):  # below the rounding of any ends
            middle = (low + high) / 2
            many = (scores - middle).sigmoid().sum(-1, keepdim=True) > k
            low, high = torch.where(many, middle, low), torch.where(many, high, middle)
        bits = (scores - (low + high) / 2).sigmoid()
        return torch.where((spare == 0) & there, 1.0, bits)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep the answer."""
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        """``s * (dy - <s, dy> / sum s)`` with the slopes ``s = z (1 - z)``; 0 where all of them are."""
        (z,) = ctx.saved_tensors
        slope = z * (1 - z)
        total = slope.sum(-1, keepdim=True).clamp(min=torch.finfo(z.dtype).tiny)
        return slope * (dy - (slope * dy).sum(-1, keepdim=True) / total), None
