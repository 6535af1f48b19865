"""Denoising score matching on rows that were not trained on, with the same noise for every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.distributions.score_matching import denoising_factor, denoising_losses, event_shape_of


@dataclass(frozen=True)
class HeldOutScoreMatching:
    """Mean loss of :class:`~logprob.objectives.DenoisingScoreMatching`, lower is better, on one fixed noise.

    Models that are compared see the same noise, so their difference varies far less than either. All numbers are in
    the scale of ``1/2 ||sigma^2 grad u + v||^2``: ``dsm`` summed over a row, ``dsm_paper`` in the published reduction,
    ``dsm_zero_paper`` that of a model which has learned nothing, on this noise, and ``dsm_ratio`` the one by the other:
    1 is nothing learned. Of several copies it is the mean.

    Args:
        sigma: of the noise, as in training.
        image_shape: of a flattened row, for the published reduction; the row's own shape if omitted.
        repeats: noises for each row.
        seed: of the noise.
        batch_size: rows evaluated at once.

    Raises:
        ValueError: if sigma is not positive, or a number is below one.

    Example:
        >>> from logprob.energy import UnconditionalEnergy
        >>> from logprob.nn import MLP
        >>> model, rows = UnconditionalEnergy(MLP(3, 2)), Batch(torch.randn(8, 3))
        >>> HeldOutScoreMatching(0.1)(model, rows) == HeldOutScoreMatching(0.1)(model, rows)
        True
    """

    sigma: float = 0.01
    image_shape: Sequence[int] | None = None
    repeats: int = 1
    seed: int = 0
    batch_size: int = 1024

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma must be positive, got {self.sigma}")
        if min(self.repeats, self.batch_size) < 1:
            raise ValueError(f"repeats and batch_size must be at least 1, got {self.repeats} and {self.batch_size}")

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``."""
        event = event_shape_of(batch.x, self.image_shape)
        paper = denoising_factor("paper", 4, self.sigma, event)
        generator = torch.Generator().manual_seed(self.seed)  # of the processor: the same noise on every device
        loss = zero = 0.0
        for _ in range(self.repeats):
            noise = self.sigma * torch.randn(batch.x.shape, generator=generator, dtype=torch.float64)
            loss += self._mean(model, batch, noise) / self.repeats
            zero += noise.square().flatten(1).sum(-1).mean().item() / 2 / self.repeats
        return {"dsm": loss, "dsm_paper": paper * loss, "dsm_zero_paper": paper * zero, "dsm_ratio": loss / zero}

    def _mean(self, model: DistributionModule, batch: Batch, noise: Tensor) -> float:
        total = 0.0
        for index in torch.arange(len(batch.x)).split(self.batch_size):
            part = batch.rows(slice(int(index[0]), int(index[-1]) + 1))
            v = noise[index].to(part.x)
            with torch.no_grad():
                losses = denoising_losses(model(part.context), part.x, v, self.sigma)
            total += losses.double().sum(-1).mean().item()  # the mean over copies
        return total / len(batch.x)
