"""Gumbel-Rao: the straight-through gradient averaged over noise that gives the same category."""

from __future__ import annotations

import torch
from torch import Tensor

from logprob.gradients.base import CategoricalLaw, PathwiseGradient
from logprob.gradients.category import draw_category, relax, with_backward_of


class GumbelRao(PathwiseGradient):
    """One-hot samples, with the mean Jacobian of M relaxed samples whose noise is drawn given the category.

    Its mean is that of :class:`~logprob.gradients.StraightThroughRelaxed` at the same temperature, its variance
    smaller, as the category is all that ``f`` sees (Rao and Blackwell). Named after the Gumbel noise of
    :class:`Concrete`; any law that can draw noise given a category will do. Biased.

    Args:
        samples: M, at least 1; that many relaxed samples are held at once.
        temperature: of the relaxed samples; that of the law if omitted.

    Raises:
        ValueError: if a number is out of its range.

    References:
        Paulus, Maddison and Krause, "Rao-Blackwellizing the Straight-Through Gumbel-Softmax Gradient Estimator", ICLR
        2021.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> q = Concrete(torch.tensor(0.5), torch.zeros(3, 4, requires_grad=True))
        >>> b = GumbelRao(10).rsample(q, (2,))
        >>> b.shape, bool(((b == 0) | (b == 1)).all())
        (torch.Size([2, 3, 4]), True)
    """

    def __init__(self, samples: int = 10, temperature: float | None = None) -> None:
        super().__init__()
        if samples < 1 or (temperature is not None and not temperature > 0):
            raise ValueError(f"expected samples >= 1 and temperature > 0, got {samples} and {temperature}")
        self.samples, self.temperature = samples, temperature

    def rsample(self, q: CategoricalLaw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """One-hot samples ``sample_shape + batch_shape + (K,)``."""
        category = draw_category(q, sample_shape)
        with torch.no_grad():  # the noise is drawn given the category, then held fixed
            noise = q.noise_given(category.expand(self.samples, *category.shape))
        scores = q.scores(noise)
        temperature = q.temperature if self.temperature is None else scores.new_tensor(self.temperature)
        return with_backward_of(category, relax(scores, temperature.to(scores)).mean(0).to(category))
