"""The exact expectation, where there are few enough categories to visit them all."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.gradients.base import CategoricalLaw, Function, GradientEstimator, evaluate
from logprob.gradients.category import log_prob_of


class Enumeration(GradientEstimator):
    """``E_q f`` itself: the sum over all joint categories, each weighted by its probability. No noise, no bias.

    The *value* is the expectation, the same for every sample unless ``f`` draws something of its own. ``V`` variables
    that ``f`` joins have ``K^V`` joint categories, at which ``f`` is called at once, or one by one for samples.

    Args:
        limit: largest number of joint categories.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> q = Concrete(torch.tensor(0.5), torch.zeros(3, 2))
        >>> Enumeration()(q, lambda z: z[..., 0].prod(-1))
        tensor(0.1250)
    """

    unbiased: ClassVar[bool] = True

    def __init__(self, limit: int = 100_000) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, q: CategoricalLaw, f: Function, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """The expectation, repeated to ``sample_shape + batch``.

        Raises:
            ValueError: if there are more than ``limit`` joint categories.
        """
        logits = q.logits
        sample_shape = torch.Size(sample_shape)
        batch = evaluate(f, torch.zeros_like(logits).expand(sample_shape + logits.shape), sample_shape).dim()
        batch -= len(sample_shape)
        rest, categories = logits.shape[batch:-1], logits.shape[-1]
        if categories ** rest.numel() > self.limit:
            raise ValueError(f"expected at most {self.limit} joint categories, got {categories}^{rest.numel()}")
        codes = torch.cartesian_prod(*[torch.arange(categories, device=logits.device)] * rest.numel())
        codes = F.one_hot(codes.reshape(-1, *[1] * batch, *rest), categories).to(logits)  # (K^V, 1, rest, K)
        codes = codes.expand(-1, *logits.shape)
        weights = log_prob_of(logits, codes, batch + 1).exp()  # (K^V, *batch)
        if not sample_shape:
            return (weights * evaluate(f, codes, codes.shape[:1])).sum(0)
        # f may draw something else for each sample, so it is called with samples, once a joint category.
        values = [evaluate(f, code.expand(sample_shape + code.shape), sample_shape) for code in codes]
        return sum((w * v for w, v in zip(weights, values, strict=True)), torch.zeros_like(values[0]))
