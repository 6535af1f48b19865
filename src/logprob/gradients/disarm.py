"""DisARM: an antithetic pair for two categories."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from logprob.gradients.base import CategoricalLaw, Function, GradientEstimator, evaluate
from logprob.gradients.category import join, with_backward_of


class DisARM(GradientEstimator):
    """Two categories, two antithetic samples, and what they have in common integrated out. Unbiased.

    With ``a = log p_0 - log p_1`` and ``u`` uniform, the samples are category 0 where ``u < sigmoid(a)``, and where
    ``1 - u < sigmoid(a)``. The gradient with respect to ``a`` is ``(f(b) - f(b')) / 2 * sigmoid(|a|)`` with the sign of
    ``b - b'``, and 0 where the two agree.

    The *value* is the mean of ``f`` over the pair. ``f`` is called twice and needs no gradient in ``b``.

    References:
        Dong, Mnih and Tucker, "DisARM: An Antithetic Gradient Estimator for Binary Latent Variables", NeurIPS 2020,
        Eq. 6; Yin, Ho, Yan, Qian and Zhou found the same (U2G), 2020.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> logits = torch.zeros(2, requires_grad=True)
        >>> value = DisARM()(Concrete(torch.tensor(0.5), logits), lambda z: z @ torch.tensor([1.0, 3.0]))
        >>> value.backward()  # at equal probabilities a pair always differs, and has the exact gradient
        >>> value.item(), logits.grad
        (2.0, tensor([-0.5000,  0.5000]))
    """

    unbiased: ClassVar[bool] = True

    def forward(self, q: CategoricalLaw, f: Function, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """The mean of ``f`` over an antithetic pair for each sample, ``sample_shape + batch``.

        Raises:
            ValueError: if there are not two categories.
        """
        if q.event_shape[0] != 2:
            raise ValueError(f"DisARM takes 2 categories, got {q.event_shape[0]}; LeaveOneOut takes any number")
        logits = q.logits
        logit = logits[..., 0] - logits[..., 1]
        first, second = _antithetic(logit.detach(), torch.Size(sample_shape))
        values = [evaluate(f, torch.stack([b, 1 - b], -1), sample_shape) for b in (first, second)]
        value = (values[0] + values[1]) / 2
        half = (values[0] - values[1]).detach() / 2
        weight = (first - second) * logit.detach().abs().sigmoid()
        return with_backward_of(value, half * join((logit * weight).unsqueeze(-1), value.dim()))


def _antithetic(logit: Tensor, sample_shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Whether category 0 is drawn, as 0 or 1, by ``u`` and by ``1 - u``."""
    u = torch.rand(sample_shape + logit.shape, dtype=logit.dtype, device=logit.device)
    probability = logit.sigmoid()
    return (u < probability).to(logit), (1 - u < probability).to(logit)
