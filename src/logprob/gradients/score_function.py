"""The score-function gradient, also known as REINFORCE, and its baseline from the other samples."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from logprob.gradients.base import CategoricalLaw, Function, GradientEstimator, evaluate
from logprob.gradients.baselines import Baseline
from logprob.gradients.category import draw_category, log_prob_of, with_backward_of


class ScoreFunction(GradientEstimator):
    """``(f(b) - baseline) grad log p(b)`` at one-hot samples ``b``. Unbiased; ``f`` needs no gradient in ``b``.

    Args:
        baseline: what is taken off ``f``; nothing if omitted.

    References:
        Williams, "Simple Statistical Gradient-Following Algorithms", Machine Learning 8, 1992.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> logits = torch.zeros(2, requires_grad=True)
        >>> ScoreFunction()(Concrete(torch.tensor(0.5), logits), lambda z: z.new_tensor(2.0)).backward()
        >>> logits.grad.abs()
        tensor([1., 1.])
    """

    unbiased: ClassVar[bool] = True

    def __init__(self, baseline: Baseline | None = None) -> None:
        super().__init__()
        self.baseline = baseline

    def forward(self, q: CategoricalLaw, f: Function, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """``f`` at one-hot samples, ``sample_shape + batch``."""
        category = draw_category(q, sample_shape)
        value = evaluate(f, category, sample_shape)
        advantage = value.detach() if self.baseline is None else value.detach() - self.baseline(value.detach())
        return with_backward_of(value, advantage * log_prob_of(q.logits, category, value.dim()))


class LeaveOneOut(GradientEstimator):
    """The score function where the baseline of each sample is the mean of ``f`` over the other ones. Unbiased.

    References:
        Kool, van Hoof and Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!", ICLR workshop 2019.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> logits = torch.zeros(3, requires_grad=True)
        >>> LeaveOneOut()(Concrete(torch.tensor(0.5), logits), lambda z: z.sum(-1), (4,)).mean().backward()
        >>> logits.grad
        tensor([0., 0., 0.])
    """

    unbiased: ClassVar[bool] = True

    def forward(self, q: CategoricalLaw, f: Function, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """``f`` at one-hot samples, ``sample_shape + batch``.

        Raises:
            ValueError: if ``sample_shape`` has fewer than two samples.
        """
        samples = torch.Size(sample_shape).numel()
        if samples < 2:
            raise ValueError(f"leave-one-out needs at least 2 samples, got sample_shape {tuple(sample_shape)}")
        category = draw_category(q, sample_shape)
        value = evaluate(f, category, sample_shape)
        mean = value.detach().mean(tuple(range(len(sample_shape))))
        advantage = (value.detach() - mean) * (samples / (samples - 1))  # = f less the mean of the others
        return with_backward_of(value, advantage * log_prob_of(q.logits, category, value.dim()))
