"""One call of a solver for all samples and instances, under whatever transform of torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from logprob.discrete.attach import transformed
from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.refusal import name_instance

_NAMED = re.compile(r"instance (\d+)(?=: )")  # how errors of solvers begin


def solve(
    solver: Solver, scores: Tensor, instance: Mapping[str, Any], batch_dims: int, active: Tensor | None = None
) -> Tensor:
    """The answers of a solver, asked once: samples and instances are made one dimension.

    Args:
        solver: who is asked.
        scores: shape ``(*samples, *batch, *event)``.
        instance: further arguments of the solver. Tensors ``(*batch, ...)`` are repeated over the samples; what is not
            a tensor is passed as it is.
        batch_dims: number of dimensions of ``batch``.
        active: boolean, broadcasts to ``(*samples, *batch)``. A solver that is not in torch, where every row costs, is
            not asked about the other rows, whose answers are zeros.

    Returns:
        z of the shape and type of ``scores``, without gradient.

    Raises:
        ValueError: if the solver gives another shape or type. Errors of the solver name an instance of the batch,
            whatever rows it was asked about.
    """
    scores = scores.detach()
    lead = scores.shape[: scores.dim() - solver.event_dim]
    tensors = {name: value for name, value in instance.items() if isinstance(value, Tensor)}
    rest = {name: value for name, value in instance.items() if name not in tensors}
    repeated = [value.expand(lead + value.shape[batch_dims:]) for value in tensors.values()]
    active = None if active is None or solver.in_torch else active.expand(lead)
    run = partial(solver, **rest)
    arguments: Any = (run, solver.event_dim, batch_dims, tuple(tensors), scores, active, *repeated)
    with torch.no_grad():
        z: Tensor = _Solve.apply(*arguments) if transformed(scores, *repeated) else _Solve.forward(*arguments)
    return z


class _Solve(Function):
    """A solver as one operation: transforms of torch see tensors go in and out, and the solver sees plain ones."""

    @staticmethod
    def forward(
        run: partial[Tensor],
        event_dim: int,
        batch_dims: int,
        names: tuple[str, ...],
        scores: Tensor,
        active: Tensor | None,
        *rows: Any,
    ) -> Tensor:
        lead = scores.dim() - event_dim
        flat = _flatten(scores, lead)
        instance = {name: _flatten(value, lead) for name, value in zip(names, rows, strict=True)}
        with _without_autocast(scores):
            try:
                z = _ask(run, flat, instance) if active is None else _ask_some(run, flat, instance, active.flatten())
            except Exception as error:
                _name(error, scores.shape[lead - batch_dims : lead], active)
                raise
        return z.reshape(scores.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing to save: answers are constants."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """No gradient."""
        return (None,) * len(ctx.needs_input_grad)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Tensor, int]:
        """What is mapped over is one more dimension of instances."""
        moved = [_in_front(value, dim, info.batch_size) for value, dim in zip(inputs, in_dims, strict=True)]
        return _Solve.apply(*moved), 0


def _ask(run: partial[Tensor], scores: Tensor, instance: dict[str, Tensor]) -> Tensor:
    z = run(scores, **instance)
    if z.shape != scores.shape or z.dtype != scores.dtype:
        raise ValueError(
            f"expected {type(run.func).__name__} to give {tuple(scores.shape)} in {scores.dtype}, as its scores are, "
            f"got {tuple(z.shape)} in {z.dtype}"
        )
    return z


def _ask_some(run: partial[Tensor], scores: Tensor, instance: dict[str, Tensor], active: Tensor) -> Tensor:
    """Ask about the active rows alone, if there are any."""
    if active.all():
        return _ask(run, scores, instance)
    z = torch.zeros_like(scores)
    if active.any():
        z[active] = _ask(run, scores[active], {name: value[active] for name, value in instance.items()})
    return z


def _name(error: Exception, batch: torch.Size, active: Tensor | None) -> None:
    """Let an error that names a row, of those that the solver was asked about, name its instance."""
    found = _NAMED.match(str(error))
    if found:
        row = int(found[1]) if active is None else int(active.flatten().nonzero()[int(found[1])])
        index = [int(i) for i in np.unravel_index(row % batch.numel(), batch)] if batch else []
        error.args = (name_instance(index) + str(error)[found.end() :],)


def _flatten(value: Tensor, lead: int) -> Tensor:
    """The first ``lead`` dimensions as one."""
    return value.reshape(value.shape[:lead].numel(), *value.shape[lead:])


def _in_front(value: Any, dim: int | None, size: int) -> Any:
    """The mapped dimension first; what is shared is repeated, what is no tensor left."""
    if not isinstance(value, Tensor):
        return value
    return value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)


def _without_autocast(scores: Tensor) -> AbstractContextManager[Any]:
    """Scores are compared: they keep their precision."""
    device = scores.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
