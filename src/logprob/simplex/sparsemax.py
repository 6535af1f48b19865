"""Sparse maps onto the simplex: sparsemax and the entmax family between it and the softmax."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from logprob.gradients.base import CategoricalLaw, PathwiseGradient

# Each halving of an interval of width at most 1 gives one bit; float64 has 52.
_HALVINGS = 60


def sparsemax(scores: Tensor) -> Tensor:
    """The point of the simplex that is nearest to ``scores``; many entries are exactly 0.

    ``max(scores - t, 0)`` with ``t`` such that it sums to 1, by sorting: exact. The gradient is exact off the kinks,
    where a support changes.

    Args:
        scores: real, ``(..., K)``.

    References:
        Martins and Astudillo, "From Softmax to Sparsemax", ICML 2016.

    Example:
        >>> import torch
        >>> sparsemax(torch.tensor([1.0, 0.8, -1.0]))
        tensor([0.6000, 0.4000, 0.0000])
    """
    return entmax(scores, 2.0)


def entmax(scores: Tensor, alpha: float = 1.5) -> Tensor:
    """``argmax_p p . scores + H_alpha(p)`` over the simplex, with Tsallis' entropy of order ``alpha``.

    ``p = max((alpha - 1) scores - t, 0)^(1 / (alpha - 1))``. At ``alpha = 1`` it is the softmax; above it has exact
    zeros. By sorting for 1.5 and 2, by bisection to rounding error for other orders. The gradient is exact off the
    kinks.

    Args:
        scores: real, ``(..., K)``.
        alpha: order, at least 1.

    Raises:
        ValueError: if ``alpha`` is below 1.

    References:
        Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models", ACL 2019; Correia, Niculae and Martins,
        "Adaptively Sparse Transformers", EMNLP 2019.

    Example:
        >>> import torch
        >>> entmax(torch.tensor([1.0, 0.8, -1.0]))
        tensor([0.5705, 0.4295, 0.0000])
        >>> entmax(torch.tensor([3.0]))
        tensor([1.])
    """
    if not alpha >= 1:
        raise ValueError(f"alpha must be at least 1, got {alpha}")
    if alpha == 1:
        return scores.softmax(-1)
    result: Tensor = _Entmax.apply(scores, alpha)
    return result


class Entmax(PathwiseGradient):
    """No sample at all: ``entmax`` of the logits, the same for every sample.

    A deterministic peer of the estimators. For an expectation over categories it is biased, and its value is ``f`` at
    one point of the simplex, which need not be near any vertex.

    Args:
        alpha: order; 1 is the softmax, 2 :func:`sparsemax`.

    Raises:
        ValueError: if ``alpha`` is below 1.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> Entmax(2.0).rsample(Concrete(torch.tensor(0.5), torch.tensor([0.0, 1.0, -3.0])))
        tensor([0., 1., 0.])
    """

    value: ClassVar[Literal["one-hot", "relaxed"]] = "relaxed"

    def __init__(self, alpha: float = 1.5) -> None:
        super().__init__()
        if not alpha >= 1:
            raise ValueError(f"alpha must be at least 1, got {alpha}")
        self.alpha = alpha

    def rsample(self, q: CategoricalLaw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """``entmax(q.logits)``, repeated to ``sample_shape + batch_shape + (K,)``."""
        probs = entmax(q.logits, self.alpha)
        return probs.expand(torch.Size(sample_shape) + probs.shape)


class _Entmax(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, alpha: float) -> Tensor:
        # Only differences count, and with the largest at 0 an entry below -1 is never in the support: -2 stands for all
        # of those, so that no infinity is squared.
        x = ((alpha - 1) * (scores - scores.amax(-1, keepdim=True))).clamp(min=-2)
        threshold = {1.5: _threshold_of_order_1_5, 2.0: _threshold_of_order_2}.get(alpha)
        t = threshold(x) if threshold else _threshold_by_bisection(x, alpha)
        probs = (x - t).clamp(min=0) ** (1 / (alpha - 1))
        return probs if threshold else probs / probs.sum(-1, keepdim=True)  # takes off the last rounding error

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.alpha = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (probs,) = ctx.saved_tensors
        positive = probs > 0
        weight = torch.where(positive, probs, 1.0) ** (2 - ctx.alpha) * positive
        mean = (gradient * weight).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True)
        return weight * (gradient - mean), None


def _threshold_of_order_2(x: Tensor) -> Tensor:
    """``t`` with ``sum max(x - t, 0) = 1``."""
    ordered = x.sort(-1, descending=True).values
    count = _counts(x)
    sums = ordered.cumsum(-1) - 1
    size = (count * ordered > sums).sum(-1, keepdim=True).clamp(min=1)  # 0 for NaN alone, which stays NaN
    return sums.gather(-1, size - 1) / size


def _threshold_of_order_1_5(x: Tensor) -> Tensor:
    """``t`` with ``sum max(x - t, 0)^2 = 1``."""
    ordered = x.sort(-1, descending=True).values
    count = _counts(x)
    mean = ordered.cumsum(-1) / count
    spread = ordered.square().cumsum(-1) - count * mean.square()
    # The quadratic's smaller root. Beyond the support it may have none, and is not chosen.
    t = mean - ((1 - spread).clamp(min=0) / count).sqrt()
    size = (t <= ordered).sum(-1, keepdim=True).clamp(min=1)
    return t.gather(-1, size - 1)


def _threshold_by_bisection(x: Tensor, alpha: float) -> Tensor:
    """``t`` with ``sum max(x - t, 0)^(1 / (alpha - 1)) = 1``; the largest ``x`` is 0."""
    low = torch.full_like(x[..., :1], -1.0)  # the sum is at least 1
    high = torch.zeros_like(low)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        large = ((x - middle).clamp(min=0) ** (1 / (alpha - 1))).sum(-1, keepdim=True) >= 1
        low, high = torch.where(large, middle, low), torch.where(large, high, middle)
    return low


def _counts(x: Tensor) -> Tensor:
    return torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
