"""Sliced score matching: the score of the data themselves, without noise, along random directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.objectives.base import Loss
from logprob.objectives.score_matching import refuse_batch_norm


@dataclass(frozen=True)
class SlicedScoreMatching:
    """``E [ w . grad(w . s(x)) + 1/2 (w . s(x))^2 ]`` with ``s = grad u`` and random directions w, ``E[w w^T] = I``.

    Up to a constant of the data it is ``1/2 E ||s(x) - grad log p(x)||^2``: its minimiser is the score of the data,
    where denoising finds that of smoothed data. The value may be negative. For data N(0, S) the minimum is
    ``-tr(S^-1) / 2``.

    The network needs a smooth nonlinearity: of u made of ReLU, leaky ReLU or maxout, with no squares, the first term
    is zero, and with it all that is learned.

    With C copies the loss is the sum over the copies, which all see the same directions; the metric is the mean.

    Args:
        directions: number of directions for each row.
        analytic_variance: whether the second term is ``1/2 ||s(x)||^2``, its mean over w, which varies less.
        law: of w: ``"normal"``, or ``"rademacher"``, signs, which vary less.
        allow_batch_norm: see :class:`~logprob.objectives.DenoisingScoreMatching`.

    Raises:
        ValueError: for less than one direction or an unknown name; when called, for batch normalisation in training
            mode.

    References:
        Song, Garg, Shi and Ermon, "Sliced Score Matching: A Scalable Approach to Density and Score Estimation",
        UAI 2019, Eq. 7 and 8.

    Example:
        >>> from logprob.energy import UnconditionalEnergy
        >>> from logprob.nn import MLP
        >>> model = UnconditionalEnergy(MLP(3, 2, activation="softplus"))
        >>> SlicedScoreMatching()(model, Batch(torch.randn(8, 3))).value.shape
        torch.Size([])
    """

    directions: int = 1
    analytic_variance: bool = True
    law: Literal["normal", "rademacher"] = "normal"
    allow_batch_norm: bool = False

    def __post_init__(self) -> None:
        if self.directions < 1:
            raise ValueError(f"directions must be at least 1, got {self.directions}")
        if self.law not in ("normal", "rademacher"):
            raise ValueError(f"law must be 'normal' or 'rademacher', got {self.law!r}")

    def __call__(self, model: DistributionModule, batch: Batch) -> Loss:
        """The loss; its metric ``ssm`` is itself, the mean over copies."""
        if not self.allow_batch_norm:
            refuse_batch_norm(model)
        means = self.losses(model, batch).mean(-1)  # (*copies,)
        return Loss(means.sum(), {"ssm": means.detach().mean()})

    def losses(self, model: DistributionModule, batch: Batch) -> Tensor:
        """Loss of each row, ``(*copies, N)``."""
        differentiable = torch.is_grad_enabled()
        copies = getattr(model, "copies", None)
        x = batch.x if copies is None else batch.x.expand(copies, *batch.x.shape)
        first = x.dim() - batch.x.dim() + 1  # axis of a row
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            distribution = model(batch.context)
            score = distribution.score(x)
            squared = score.square().flatten(first).sum(-1) / 2
            total = squared if self.analytic_variance else torch.zeros_like(squared)
            for _ in range(self.directions):
                w = self._direction(batch.x).expand_as(x)
                along = (w * score).flatten(first).sum(-1)
                curved = self._curvature(along, x, differentiable)
                term = (w * curved).flatten(first).sum(-1)
                term = term if self.analytic_variance else term + along.square() / 2
                total = total + term / self.directions
        return total if differentiable else total.detach()

    def _curvature(self, along: Tensor, x: Tensor, differentiable: bool) -> Tensor:
        (gradient,) = torch.autograd.grad(
            along.sum(), x, create_graph=differentiable, retain_graph=True, materialize_grads=True
        )
        return gradient

    def _direction(self, x: Tensor) -> Tensor:
        w = torch.randn_like(x)
        return w if self.law == "normal" else torch.where(w < 0, -1.0, 1.0).to(x.dtype)
