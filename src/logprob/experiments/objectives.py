"""The optional parts of an objective: parameters, state, a device, work before and in a phase; see :class:`Fit`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from logprob.batch import Batch
from logprob.distributions import DistributionModule


def place_objective(objective: Any, device: torch.device) -> Any:
    """The objective on ``device``, itself if it has no ``to``."""
    return objective.to(device) if hasattr(objective, "to") else objective


def objective_parameters(objective: Any) -> list[nn.Parameter]:
    """What an objective learns beside the model, such as a control variate: the optimizer of its phase takes it too."""
    return [p for p in objective.parameters() if p.requires_grad] if isinstance(objective, nn.Module) else []


def objective_state(objective: Any) -> dict[str, Any] | None:
    """The state to keep in a checkpoint; None if the objective has none."""
    return dict(objective.state_dict()) if hasattr(objective, "state_dict") else None


def load_objective(objective: Any, state: dict[str, Any] | None) -> None:
    """Undo :func:`objective_state`."""
    if state is not None and hasattr(objective, "load_state_dict"):
        objective.load_state_dict(state)


def prepare_rows(objective: Any, model: DistributionModule, rows: Batch) -> Batch:
    """What the objective makes of all training rows before a phase, such as cached numbers; by default the rows."""
    prepared: Batch = objective.prepare(model, rows) if hasattr(objective, "prepare") else rows
    return prepared


def finish_epoch(objective: Any, model: DistributionModule) -> None:
    """Call what the objective does at the end of an epoch, if it does anything."""
    if hasattr(objective, "finish_epoch"):
        objective.finish_epoch(model)
