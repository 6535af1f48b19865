"""The exact expectation, where there are few enough states to visit them all."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from logprob.gradients.base import CategoricalLaw, Function, GradientEstimator, ScoredLaw, evaluate
from logprob.gradients.category import join
from logprob.gradients.scored import states_and_logits


class Enumeration(GradientEstimator):
    """``E_q f`` itself: the sum over all joint categories, each weighted by its probability. No noise, no bias.

    The *value* is the expectation, the same for every sample unless ``f`` draws something of its own. ``V`` variables
    that ``f`` joins have ``K^V`` joint categories, at which ``f`` is called at once, or one by one for samples. A law
    over other things than categories must have ``enumerate_support`` and ``log_prob``; K is then the number of states.

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

    def forward(self, q: CategoricalLaw | ScoredLaw, f: Function, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """The expectation, repeated to ``sample_shape + batch``.

        Raises:
            ValueError: if there are more than ``limit`` joint categories.
            TypeError: if the law does not list its states.
        """
        states, logits = states_and_logits(q)  # (K, *event), (*batch, *rest, K)
        sample_shape, event_dim = torch.Size(sample_shape), states.dim() - 1
        zeros = torch.zeros_like(states[0]).expand(sample_shape + logits.shape[:-1] + states.shape[1:])
        batch = evaluate(f, zeros, sample_shape, event_dim).dim() - len(sample_shape)
        rest, categories = logits.shape[batch:-1], len(states)
        if categories ** rest.numel() > self.limit:
            raise ValueError(f"expected at most {self.limit} joint categories, got {categories}^{rest.numel()}")
        codes = torch.cartesian_prod(*[torch.arange(categories, device=logits.device)] * rest.numel())
        codes = codes.reshape(-1, *[1] * batch, *rest).expand(-1, *logits.shape[:-1])  # (K^V, *batch, *rest)
        chosen = logits.expand(len(codes), *logits.shape).gather(-1, codes.unsqueeze(-1))
        weights = join(chosen, batch + 1).exp()  # (K^V, *batch)
        if not sample_shape:
            return (weights * evaluate(f, states[codes], codes.shape[:1], event_dim)).sum(0)
        # f may draw something else for each sample, so it is called with samples, once a joint category.
        points = (states[code].expand(sample_shape + zeros.shape[len(sample_shape) :]) for code in codes)
        values = [evaluate(f, point, sample_shape, event_dim) for point in points]
        return sum((w * v for w, v in zip(weights, values, strict=True)), torch.zeros_like(values[0]))
