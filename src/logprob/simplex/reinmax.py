"""ReinMax: a straight-through gradient of second order."""

from __future__ import annotations

from torch import Tensor

from logprob.gradients.base import CategoricalLaw, PathwiseGradient
from logprob.gradients.category import draw_category, with_backward_of


class ReinMax(PathwiseGradient):
    """One-hot samples, with a gradient by the trapezium rule between the probabilities and the sample.

    With ``p = softmax(logits)``, ``b`` the sample and ``m = (b + softmax(logits / temperature)) / 2``, the gradient is
    that of ``2 softmax(logits + stop(log m - logits)) - p / 2``. At temperature 1 its mean is exact for every quadratic
    ``f`` of one variable; it is biased otherwise.

    Args:
        temperature: of the middle point, at least 1.

    Raises:
        ValueError: if ``temperature`` is below 1.

    References:
        Liu, Dong, Liu, Yu and Gao, "Bridging Discrete and Backpropagation: Straight-Through and Beyond", NeurIPS 2023,
        Algorithm 2.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> b = ReinMax().rsample(Concrete(torch.tensor(0.5), torch.zeros(3, 4, requires_grad=True)))
        >>> b.shape, bool(((b == 0) | (b == 1)).all())
        (torch.Size([3, 4]), True)
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature >= 1:
            raise ValueError(f"temperature must be at least 1, got {temperature}")
        self.temperature = temperature

    def rsample(self, q: CategoricalLaw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """One-hot samples ``sample_shape + batch_shape + (K,)``."""
        logits = q.logits
        category = draw_category(q, sample_shape)
        middle = (category + (logits.detach() / self.temperature).softmax(-1)) / 2
        moved = (logits + (middle.log() - logits.detach())).softmax(
            -1
        )  # equals middle; the gradient is softmax's there
        return with_backward_of(category, (2 * moved - logits.softmax(-1) / 2).to(category))
