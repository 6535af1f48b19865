"""The bound of an iVAE taken apart and weighted anew, along a schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from logprob.energy.ivae import IVAE, LOG_2PI


class AnnealingWeights(NamedTuple):
    """Factors of the four parts of :class:`AnnealedELBO`; all ones give the bound itself."""

    likelihood: float
    information: float
    total_correlation: float
    dimensions: float


@dataclass(frozen=True)
class AnnealedELBO:
    """The bound of an :class:`IVAE` in four parts with weights that change during training.

    ``a log p(x|z) - b [log q(z|x,y) - log q(z)] - c [log q(z) - sum_i log q(z_i)] - e [sum_i log q(z_i) - log p(z|y)]``
    The aggregate posteriors are estimated within the minibatch of M rows, ``log q(z) = log (1/(M N)) sum_j q(z | x_j,
    y_j)``, and so for each z_i. At step t of T, with ``r = t / floor(T / 1.6)`` and ``s = 1 / (2 decoder_variance)``:
    ``a = min(2 s, s + s r)``, ``b = max(1, 0.3 s (1 - r))``, ``c = min(1, r)``, ``e = max(1, 0.5 s (1 - r))``.
    From ``r > 1`` on it is the plain bound. No published run has it on; it costs M^2 L numbers a copy and step.

    Args:
        rows: number N of training rows.
        steps: number T of steps.

    Raises:
        ValueError: for less than one row or two steps.

    References:
        Chen et al., "Isolating Sources of Disentanglement in Variational Autoencoders", NeurIPS 2018, for the parts.

    Example:
        >>> model, x, y = IVAE(5, conditions=20), torch.randn(6, 5), torch.arange(6)
        >>> AnnealedELBO(rows=400, steps=1000)(model, x, y, step=100).shape
        torch.Size([6])
        >>> AnnealedELBO(rows=400, steps=1000).weights(0.01, step=100)
        AnnealingWeights(likelihood=58.0, information=12.6, total_correlation=0.16, dimensions=21.0)
    """

    rows: int
    steps: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.steps < 2:
            raise ValueError(f"expected rows >= 1 and steps >= 2, got {self.rows} and {self.steps}")

    def weights(self, decoder_variance: float, step: int) -> AnnealingWeights:
        """The factors a, b, c, e at a step."""
        start, r = 0.5 / decoder_variance, step / int(self.steps / 1.6)
        if r > 1:
            return AnnealingWeights(1.0, 1.0, 1.0, 1.0)
        falling = 1 - r
        return AnnealingWeights(
            min(2 * start, start + start * r), max(1.0, 0.3 * start * falling), r, max(1.0, 0.5 * start * falling)
        )

    def __call__(self, model: IVAE, x: Tensor, y: Tensor, step: int, eps: Tensor | None = None) -> Tensor:
        """The weighted bound of rows, ``(*copies, N)``, at one draw."""
        a, b, c, e = self.weights(model.decoder_variance, step)
        if a == b == c == e == 1:
            return model.elbo(x, y, eps)
        mean, log_variance = model.encode(x, y)
        eps = torch.randn_like(mean) if eps is None else eps
        terms = model.terms(x, y, eps)
        z = mean + eps * (log_variance / 2).exp()
        joint, each = self._aggregate(z, mean, log_variance)
        return (
            a * terms.log_likelihood
            - b * (terms.log_posterior - joint)
            - c * (joint - each)
            - e * (each - terms.log_prior)
        )

    def _aggregate(self, z: Tensor, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
        """``log q(z)`` and ``sum_i log q(z_i)``, each ``(*copies, N)``."""
        z, mean, log_variance = z.unsqueeze(-2), mean.unsqueeze(-3), log_variance.unsqueeze(-3)
        log_q = -((z - mean).square() * (-log_variance).exp() + log_variance + LOG_2PI) / 2  # (*copies, N, N, L)
        constant = math.log(z.shape[-3] * self.rows)
        joint = log_q.sum(-1).logsumexp(-1) - constant
        return joint, (log_q.logsumexp(-2) - constant).sum(-1)
