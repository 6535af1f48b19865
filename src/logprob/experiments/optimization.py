"""What surrounds an update: the chosen parameters, learning rates, clipping, the optimizer's state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from logprob.experiments.errors import RecipeError


@contextmanager
def scaled_rates(optimizer: Any, factor: float) -> Iterator[None]:
    """Learning rates times ``factor`` inside the block; a schedule sees its own ones after it."""
    if factor == 1.0:
        yield
        return
    rates = [group["lr"] for group in optimizer.param_groups]
    try:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def clip_gradients(optimizer: Any, largest: float) -> Tensor:
    """Scale all gradients so that their joint norm is at most ``largest``; the norm before, a tensor."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return nn.utils.clip_grad_norm_(parameters, largest)


def load_optimizer(optimizer: Any, state: Mapping[str, Any]) -> None:
    """As ``optimizer.load_state_dict``, which casts some counters to the parameters' type, with those as they were."""
    optimizer.load_state_dict(state)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, saved in state["state"].items():
        held = optimizer.state[parameters[int(index)]]
        for name, value in saved.items():
            if isinstance(value, Tensor):
                held[name] = value.to(held[name].device, copy=True)


def moves_every_update(scheduler: Any) -> bool:
    """Whether a schedule moves after every update; all others move after every epoch."""
    return getattr(scheduler, "every_update", False)


def step_schedule(scheduler: Any, cost: float | None) -> None:
    """Move a schedule on by one epoch; those that watch a metric are given ``cost``, and wait while there is none."""
    if isinstance(scheduler, ReduceLROnPlateau) or getattr(scheduler, "takes_metric", False):
        if cost is not None:
            scheduler.step(cost)
    else:
        scheduler.step()


def select_parameters(model: nn.Module, pattern: str) -> list[nn.Parameter]:
    """Let the parameters whose name ``pattern`` finds take gradients, and no others.

    Raises:
        RecipeError: if there is none, or if ``pattern`` is no regular expression.
    """
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise RecipeError(f"phases.parameters: {pattern!r} is no regular expression: {error}") from None
    chosen = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(search(name) is not None)
        if parameter.requires_grad:
            chosen.append(parameter)
    if not chosen:
        names = ", ".join(name for name, _ in model.named_parameters())
        raise RecipeError(f"phases.parameters: {pattern!r} finds none of the parameters {names}")
    return chosen
