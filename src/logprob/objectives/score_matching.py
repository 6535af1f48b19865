"""Denoising score matching: fit the gradient of the log-density, for which no normaliser is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.distributions.score_matching import (
    Reduction,
    SigmaPower,
    check_denoising,
    denoising_factor,
    denoising_losses,
    event_shape_of,
)
from logprob.objectives.base import Loss


@dataclass(frozen=True)
class DenoisingScoreMatching:
    """``1/2 E ||sigma^2 grad u(x + v | y) + v||^2``, ``v ~ N(0, sigma^2 I)``, for energies and score networks.

    Its minimiser is the score of the density *smoothed* by the noise: of data N(0, S) a Gaussian with precision
    ``(S + sigma^2 I)^-1``. It is conditional if the batch has a context. Compare values with
    :func:`~logprob.objectives.zero_energy_loss`, that of a model which has learned nothing.

    With C copies the loss is the sum over the copies, which all see the same noise; metrics are means over them.

    Args:
        sigma: standard deviation of the noise, > 0, in the units of the rows.
        reduction: ``"sample"``: squares are summed over all numbers of a row and averaged over rows. ``"paper"``:
            they are summed over the last axis of an image only and averaged over everything else, as published; that
            divides by ``channels * height``. The same for vectors.
        sigma_power: 4 for the formula above, as published; 2 divides it by ``sigma^2`` (the value of a zero score is
            then half the number of variables), 0 by ``sigma^4``, which makes it ``1/2 E ||grad u + v / sigma^2||^2``.
        image_shape: ``(channels, height, width)`` of a flattened row, for "paper"; the row's own shape if omitted.
        allow_batch_norm: whether batch normalisation may look at the batch, as in the published runs. It couples the
            rows: the gradient of one row's u by *all* rows is then no score. Without it such a model is refused.

    Raises:
        ValueError: for a number or a name out of its range; when called, for batch normalisation in training mode, or
            rows that are no images of ``image_shape``.

    References:
        Vincent, "A Connection Between Score Matching and Denoising Autoencoders", Neural Computation 2011.

    Example:
        >>> from logprob.energy import UnconditionalEnergy
        >>> from logprob.nn import MLP
        >>> objective = DenoisingScoreMatching(sigma=0.1)
        >>> sorted(objective(UnconditionalEnergy(MLP(3, 2)), Batch(torch.randn(8, 3))).metrics)
        ['dsm', 'dsm_paper']
    """

    sigma: float = 0.01
    reduction: Reduction = "sample"
    sigma_power: SigmaPower = 4
    image_shape: Sequence[int] | None = None
    allow_batch_norm: bool = False

    def __post_init__(self) -> None:
        check_denoising(self.sigma, self.reduction, self.sigma_power)

    def __call__(self, model: DistributionModule, batch: Batch) -> Loss:
        """The loss; its metrics are itself and, as ``dsm_paper``, in the published reduction and scale."""
        if not self.allow_batch_norm:
            refuse_batch_norm(model)
        event = event_shape_of(batch.x, self.image_shape)
        noise = self.sigma * torch.randn_like(batch.x)
        means = denoising_losses(model(batch.context), batch.x, noise, self.sigma).mean(-1)  # (*copies,)
        own = denoising_factor(self.reduction, self.sigma_power, self.sigma, event)
        paper = denoising_factor("paper", 4, self.sigma, event)
        mean = means.detach().mean()
        return Loss(own * means.sum(), {"dsm": own * mean, "dsm_paper": paper * mean})


def refuse_batch_norm(model: nn.Module) -> None:
    """Check that no layer mixes the rows of a batch.

    Raises:
        ValueError: naming a batch normalisation that is in training mode.
    """
    for name, part in model.named_modules():
        averages = hasattr(part, "running_mean") and not isinstance(part, nn.modules.instancenorm._InstanceNorm)
        if averages and (part.training or part.running_mean is None):
            raise ValueError(
                f"{name or type(part).__name__} normalises over the batch, so the gradient of the log-density of a row "
                "depends on the other rows; put it into eval mode, use a network without it, or, for the published "
                "protocol, set allow_batch_norm=True"
            )
