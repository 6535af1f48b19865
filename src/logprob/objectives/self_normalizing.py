"""Maximum likelihood of a flow by its surrogate: no determinant in the training step."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from logprob.batch import Batch
from logprob.flows import Energy, Penalty, SurrogateOptions
from logprob.flows.flow import HasSurrogate
from logprob.objectives.base import Loss
from logprob.objectives.geco import GECO


class SelfNormalizingLikelihood(nn.Module):
    """``-mean_b log p~(x_b) + sum_l lambda_l E_l``: the loss of a flow with self-normalizing layers.

    ``log p~`` is a surrogate: its *gradient* is that of ``log p`` where every learned inverse R is exact, and
    its value means nothing. ``E_l`` is the reconstruction energy of layer l, a mean over the batch. Layers of
    other kinds contribute their exact log-determinant, so a flow without self-normalizing layers is trained
    by its exact likelihood.

    Every ``synchronize_every`` steps, and at the end of each epoch, the learned inverses are set to the exact
    ones (for k x k convolutions to the best kernels); this is what keeps the quality of the exact method.

    Args:
        reconstruction: ``lambda``, one number for all layers, or a :class:`GECO`; 0 leaves the energies out.
        penalty: which energy, see :class:`~logprob.flows.SurrogateOptions`. ``"inverse"`` moves R only;
            ``"both"`` moves W as well, as published.
        scale: ``"full"`` or ``"paper"``, see :class:`~logprob.flows.SurrogateOptions`.
        value: what log-determinants return as their value.
        synchronize_every: calls between synchronisations, None for never (as published). 20 steps lie inside
            what was measured to lose nothing on digits; each costs O(D^3). Several calls for one step of the
            optimizer count as several; a :class:`GECO` moves at each of them, too.

    Raises:
        ValueError: if a number is out of its range.

    Source: Keller et al., "Self Normalizing Flows", ICML 2021.

    Example:
        >>> import torch
        >>> from logprob.flows import DenseFlow
        >>> flow, objective = DenseFlow(4), SelfNormalizingLikelihood(reconstruction=1.0)
        >>> objective(flow, Batch(torch.randn(8, 4))).value.backward()
    """

    def __init__(
        self,
        reconstruction: float | GECO = 1.0,
        penalty: Penalty = "inverse",
        scale: Literal["full", "paper"] = "full",
        value: Literal["zero", "cached", "exact"] = "zero",
        synchronize_every: int | None = 20,
    ) -> None:
        super().__init__()
        if isinstance(reconstruction, (int, float)) and not reconstruction >= 0:
            raise ValueError(f"reconstruction must not be negative, got {reconstruction}")
        if synchronize_every is not None and synchronize_every < 1:
            raise ValueError(f"synchronize_every must be at least 1 or null, got {synchronize_every}")
        self.reconstruction = reconstruction
        self.options = SurrogateOptions(None if reconstruction == 0 else penalty, scale, value)
        self.synchronize_every = synchronize_every
        self.steps = 0

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss; its metrics are the mean and the largest energy per dimension, and GECO's largest weight.

        Raises:
            TypeError: if the model has no surrogate.
        """
        if not hasattr(model, "surrogate_log_prob"):
            raise TypeError(
                f"{type(model).__name__} has no surrogate_log_prob; a SelfNormalizingLikelihood trains flows, "
                "NegativeLogLikelihood any model with an exact log_prob"
            )
        if torch.is_grad_enabled():
            self._synchronize_in_time(model)
        log_prob, energies = model.surrogate_log_prob(batch.x, batch.context, self.options)
        value = -log_prob.mean()
        if not energies:
            return Loss(value)
        penalty, metrics = self._penalty(energies)
        return Loss(value + penalty, metrics)

    def finish_epoch(self, model: HasSurrogate) -> None:
        """Synchronize at the end of an epoch, so that what is evaluated and kept has exact inverses."""
        if self.synchronize_every is not None:
            model.synchronize()

    def get_extra_state(self) -> Tensor:
        """The number of steps made."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on counting from there."""
        self.steps = int(state)

    def _synchronize_in_time(self, model: HasSurrogate) -> None:
        if self.synchronize_every is not None and self.steps and self.steps % self.synchronize_every == 0:
            model.synchronize()
        self.steps += 1

    def _penalty(self, energies: tuple[Energy, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        values = torch.stack([energy.value for energy in energies])
        each = torch.stack([energy.value.detach() / energy.dimensions for energy in energies])
        metrics = {"energy": each.mean(), "energy_largest": each.max()}
        if not isinstance(self.reconstruction, GECO):
            return self.reconstruction * values.sum(), metrics
        weights = self.reconstruction(energies)
        return (weights * values).sum(), metrics | {"weight_largest": weights.max()}
