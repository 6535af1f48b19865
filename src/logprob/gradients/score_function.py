"""The score-function gradient, also known as REINFORCE, and its baseline from the other samples."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from logprob.gradients.base import CategoricalLaw, Function, GradientEstimator, ScoredLaw, evaluate
from logprob.gradients.baselines import Baseline, RunningDeviation
from logprob.gradients.category import join, with_backward_of
from logprob.gradients.scored import draw_scored


class ScoreFunction(GradientEstimator):
    """``(f(z) - baseline) grad log p(z)`` at samples ``z``. Unbiased; ``f`` needs no gradient in ``z``.

    The law is one over categories, or any that draws samples with their log-probability. What else ``f`` depends on has
    its usual gradient, whatever the baseline.

    Args:
        baseline: what is taken off ``f``; nothing if omitted.
        deviation: what the difference is divided by; 1 if omitted.

    References:
        Williams, "Simple Statistical Gradient-Following Algorithms", Machine Learning 8, 1992; with a `LearnedBaseline`
        and a `RunningDeviation`, Mnih and Gregor, "Neural Variational Inference and Learning in Belief Networks", 2014.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> logits = torch.zeros(2, requires_grad=True)
        >>> ScoreFunction()(Concrete(torch.tensor(0.5), logits), lambda z: z.new_tensor(2.0)).backward()
        >>> logits.grad.abs()
        tensor([1., 1.])
    """

    unbiased: ClassVar[bool] = True

    def __init__(self, baseline: Baseline | None = None, deviation: RunningDeviation | None = None) -> None:
        super().__init__()
        self.baseline, self.deviation = baseline, deviation

    def forward(
        self,
        q: CategoricalLaw | ScoredLaw,
        f: Function,
        sample_shape: tuple[int, ...] = (),
        context: Tensor | None = None,
    ) -> Tensor:
        """``f`` at samples, ``sample_shape + batch``.

        Args:
            q: the law.
            f: see the base class.
            sample_shape: of independent samples.
            context: features ``(*batch, F)`` for a learned baseline; the scores or logits of the law if omitted.
        """
        z, log_prob = draw_scored(q, sample_shape)
        value = evaluate(f, z, sample_shape, len(q.event_shape))
        advantage = value.detach()
        if self.baseline is not None:
            features = _features(q, value.dim() - len(sample_shape)) if context is None else context
            baseline = self.baseline(advantage, None if features is None else features.detach())
            advantage = advantage - baseline.detach()
            if baseline.requires_grad:
                value = with_backward_of(value, _squared_error(value.detach(), baseline))
        if self.deviation is not None:
            advantage = advantage / self.deviation(advantage)
        return _weighted(value, advantage, log_prob)


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

    def forward(self, q: CategoricalLaw | ScoredLaw, f: Function, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """``f`` at samples, ``sample_shape + batch``.

        Raises:
            ValueError: if ``sample_shape`` has fewer than two samples.
        """
        samples = torch.Size(sample_shape).numel()
        if samples < 2:
            raise ValueError(f"leave-one-out needs at least 2 samples, got sample_shape {tuple(sample_shape)}")
        z, log_prob = draw_scored(q, sample_shape)
        value = evaluate(f, z, sample_shape, len(q.event_shape))
        mean = value.detach().mean(tuple(range(len(sample_shape))))
        advantage = (value.detach() - mean) * (samples / (samples - 1))  # = f less the mean of the others
        return _weighted(value, advantage, log_prob)


def _weighted(value: Tensor, advantage: Tensor, log_prob: Tensor) -> Tensor:
    """``value``, with the gradient of ``advantage * log_prob``, joined as ``value`` is."""
    return with_backward_of(value, advantage * join(log_prob.unsqueeze(-1), value.dim()))


def _squared_error(value: Tensor, baseline: Tensor) -> Tensor:
    """A surrogate for each sample whose backward pass fits the baseline."""
    surrogate = (value - baseline).square()
    # It is minimised, also where the loss has -f.
    surrogate.register_hook(torch.abs)
    return surrogate


def _features(q: Any, batch_dims: int) -> Tensor | None:
    """The scores or logits of a law, ``(*batch, F)``; None if it has neither."""
    scores = getattr(q, "scores", None)
    features = scores if isinstance(scores, Tensor) else getattr(q, "logits", None)
    return None if features is None else features.flatten(batch_dims)
