"""Straight-through gradients: one-hot forward, a softmax backward."""

from __future__ import annotations

from torch import Tensor

from logprob.gradients.base import CategoricalLaw, PathwiseGradient
from logprob.gradients.category import draw_category, dtype_of, harden, relax, with_backward_of


class StraightThrough(PathwiseGradient):
    """One-hot samples, with the gradient of the category probabilities: ``b + p - stop(p)``.

    Biased unless ``f`` is linear. With a ``backward_temperature`` T the gradient is that of ``softmax(logits / T)``
    (decoupled straight-through), and biased for linear functions too.

    Args:
        backward_temperature: T, > 0.

    Raises:
        ValueError: if T is not positive.

    References:
        Bengio, Léonard and Courville, arXiv 1308.3432, 2013; Shah et al., "Improving Discrete Optimisation via
        Decoupled Straight-Through Estimator", arXiv 2410.13331.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> logits = torch.zeros(2, requires_grad=True)
        >>> StraightThrough()(Concrete(torch.tensor(0.5), logits), lambda z: z @ torch.tensor([1.0, 3.0])).backward()
        >>> logits.grad
        tensor([-0.5000,  0.5000])
    """

    def __init__(self, backward_temperature: float = 1.0) -> None:
        super().__init__()
        self.backward_temperature = check_positive("backward_temperature", backward_temperature)

    def rsample(self, q: CategoricalLaw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """One-hot samples ``sample_shape + batch_shape + (K,)``."""
        probs = (q.logits / self.backward_temperature).softmax(-1)
        return with_backward_of(draw_category(q, sample_shape), probs.to(dtype_of(q)))


class StraightThroughRelaxed(PathwiseGradient):
    """One-hot samples, with the gradient of the relaxed sample of the same noise.

    Known as straight-through Gumbel-Softmax for a Concrete law; it is the same for any other. Biased. With a
    ``backward_temperature`` of its own, the temperature of the gradient is decoupled from that of the law.

    Args:
        backward_temperature: of the relaxed sample; that of the law if omitted.

    Raises:
        ValueError: if it is not positive.

    References:
        Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017; Shah et al., arXiv
        2410.13331.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> q = Concrete(torch.tensor(0.5), torch.zeros(3, 4, requires_grad=True))
        >>> b = StraightThroughRelaxed().rsample(q, (2,))
        >>> bool(((b == 0) | (b == 1)).all()), b.requires_grad
        (True, True)
    """

    def __init__(self, backward_temperature: float | None = None) -> None:
        super().__init__()
        if backward_temperature is not None:
            check_positive("backward_temperature", backward_temperature)
        self.backward_temperature = backward_temperature

    def rsample(self, q: CategoricalLaw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """One-hot samples ``sample_shape + batch_shape + (K,)``."""
        scores = q.scores(q.draw_noise(sample_shape))
        own = self.backward_temperature
        relaxed = relax(scores, q.temperature.to(scores) if own is None else scores.new_tensor(own))
        # Of the scores, not of the relaxed sample, whose largest entry may be shared once it is rounded.
        return with_backward_of(harden(scores), relaxed).to(dtype_of(q))


def check_positive(name: str, number: float) -> float:
    """``number``; ValueError unless it is positive."""
    if not number > 0:
        raise ValueError(f"{name} must be positive, got {number}")
    return number
