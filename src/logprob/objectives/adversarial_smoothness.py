"""A penalty on features that change where a row hardly does, in the direction in which they change most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from logprob.batch import Batch
from logprob.objectives.base import Loss, Objective


class AdversarialSmoothness(nn.Module):
    """``objective + weight * E KL(softmax f(x) || softmax f(x + eps d))``, d the unit direction that changes f most.

    d is found by power iterations: from a random unit direction, again and again the gradient of the divergence at
    ``x + xi d``, to unit length. Neither the gradients of parameters nor running averages of batch normalisation are
    changed by the search. The published name is virtual adversarial training.

    Args:
        objective: that the penalty is added to; the penalty alone if omitted. Its ``prepare`` and ``finish_epoch`` are
            called as they would be without this.
        weight: of the penalty.
        xi: length at which the gradient is taken; the published 10 is far from a derivative.
        eps: length of the change.
        iterations: of the power method.

    The model needs ``features(x)``, ``(*copies, N, m)``. With copies the penalty is summed over them.

    Raises:
        ValueError: for a length that is not positive, or less than one iteration.

    References:
        Miyato, Maeda, Koyama and Ishii, "Virtual Adversarial Training", IEEE TPAMI 2019.

    Example:
        >>> from logprob.energy import UnconditionalEnergy
        >>> from logprob.nn import MLP
        >>> from logprob.objectives import DenoisingScoreMatching
        >>> objective = AdversarialSmoothness(DenoisingScoreMatching(0.1))
        >>> sorted(objective(UnconditionalEnergy(MLP(3, 2)), Batch(torch.randn(8, 3))).metrics)
        ['adversarial_divergence', 'dsm', 'dsm_paper']
    """

    def __init__(
        self,
        objective: Objective | None = None,
        weight: float = 1.0,
        xi: float = 10.0,
        eps: float = 1.0,
        iterations: int = 1,
    ) -> None:
        super().__init__()
        if not (xi > 0 and eps > 0):
            raise ValueError(f"xi and eps must be positive, got {xi} and {eps}")
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.objective = objective
        self.weight, self.xi, self.eps, self.iterations = weight, xi, eps, iterations

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss; its metrics are those of the objective and ``adversarial_divergence``, in nats a row."""
        penalty = self.divergences(model, batch.x).mean(-1)  # (*copies,)
        metrics = {"adversarial_divergence": penalty.detach().mean()}
        if self.objective is None:
            return Loss(self.weight * penalty.sum(), metrics)
        loss = self.objective(model, batch)
        return Loss(loss.value + self.weight * penalty.sum(), {**loss.metrics, **metrics})

    def divergences(self, model: Any, x: Tensor) -> Tensor:
        """The divergence of each row in nats, ``(*copies, N)``."""
        copies = getattr(model, "copies", None)
        numbers = tuple(range(1 - x.dim(), 0))  # axes of a row, which may be an image
        x = x if copies is None else x.expand(copies, *x.shape)
        with _kept_averages(model):
            with torch.no_grad():
                log_p = model.features(x).log_softmax(-1)
            direction = _unit(torch.randn_like(x), numbers)
            for _ in range(self.iterations):
                with torch.enable_grad():
                    direction = direction.detach().requires_grad_()
                    divergence = _divergence(log_p, model.features(x + self.xi * direction))
                    (gradient,) = torch.autograd.grad(divergence.sum(), direction)
                direction = _unit(gradient, numbers)
            return _divergence(log_p, model.features(x + self.eps * direction))

    def prepare(self, model: Any, rows: Batch) -> Batch:
        """What the objective makes of the rows of a phase."""
        prepare = getattr(self.objective, "prepare", None)
        prepared: Batch = rows if prepare is None else prepare(model, rows)
        return prepared

    def finish_epoch(self, model: Any) -> None:
        """What the objective does at the end of an epoch."""
        finish = getattr(self.objective, "finish_epoch", None)
        if finish is not None:
            finish(model)

    def get_extra_state(self) -> Any:
        """The state of an objective that is no module; torch keeps that of one which is."""
        plain: Any = self.objective
        return plain.state_dict() if self._is_plain() and hasattr(plain, "state_dict") else None

    def set_extra_state(self, state: Any) -> None:
        """Undo :meth:`get_extra_state`."""
        plain: Any = self.objective
        if state is not None and self._is_plain():
            plain.load_state_dict(state)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the objective, too."""
        plain: Any = self.objective
        if self._is_plain() and hasattr(plain, "to"):
            self.objective = plain.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def _is_plain(self) -> bool:
        return not isinstance(self.objective, nn.Module)


def _divergence(log_p: Tensor, logits: Tensor) -> Tensor:
    log_q = logits.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _unit(direction: Tensor, numbers: tuple[int, ...]) -> Tensor:
    """Rows of length one; a row of zeros, where nothing changes, stays."""
    length = torch.linalg.vector_norm(direction, dim=numbers, keepdim=True)
    return direction / length.clamp(min=torch.finfo(direction.dtype).tiny)


@contextmanager
def _kept_averages(model: nn.Module) -> Iterator[None]:
    """Running averages of normalisations do not see what happens inside."""
    parts = [part for part in model.modules() if getattr(part, "running_mean", None) is not None]
    kept = [dict(part._buffers) for part in parts]
    try:
        for part, values in zip(parts, kept, strict=True):  # others in their place: the graph needs what it has seen
            part._buffers.update({name: None if value is None else value.clone() for name, value in values.items()})
        yield
    finally:
        for part, values in zip(parts, kept, strict=True):
            part._buffers.update(values)
