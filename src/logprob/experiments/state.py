"""Where training stands: all that a checkpoint must hold for a killed run to end as if it had not been."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Best:
    """The best checkpoint so far.

    Args:
        cost: monitored metric, lower is better.
        phase: phase it was reached in, from 0.
        epoch: epoch of that phase, from 1; 0 before any.
        weights: the model's state.
    """

    cost: float = math.inf
    phase: int = 0
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Progress:
    """Counters of a run.

    Args:
        phase: present phase, from 0; the number of phases when training is over.
        epoch: finished epochs of this phase.
        step: updates made in this phase.
        epochs: finished epochs of the run.
        steps: updates made in the run.
        stop_cost: best monitored cost of this phase by the stopping rule's threshold.
        stale: epochs since ``stop_cost`` improved, whether evaluated or not.
        seconds: time spent in training and validation so far.
        metrics_size: bytes of ``metrics.jsonl`` that belong to these counters.
        endings: why each finished phase ended.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    epochs: int = 0
    steps: int = 0
    stop_cost: float = math.inf
    stale: int = 0
    seconds: float = 0.0
    metrics_size: int = 0
    endings: list[str] = field(default_factory=list)

    def next_phase(self, ending: str) -> None:
        """Close the present phase."""
        self.endings.append(ending)
        self.phase, self.epoch, self.step = self.phase + 1, 0, 0
        self.stop_cost, self.stale = math.inf, 0


def random_state(shuffler: torch.Generator) -> dict[str, Any]:
    """States of the generators that training draws from: torch's on the CPU and on every GPU in use, ours."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda, "shuffler": shuffler.get_state()}


def set_random_state(states: dict[str, Any], shuffler: torch.Generator) -> None:
    """Undo :func:`random_state`."""
    torch.set_rng_state(states["torch"])
    shuffler.set_state(states["shuffler"])
    for device, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, device)


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's state that later updates leave alone."""
    state = model.state_dict().items()  # a module's extra state may be anything
    return {name: v.detach().clone() if isinstance(v, Tensor) else copy.deepcopy(v) for name, v in state}


def dump(progress: Progress, best: Best) -> dict[str, Any]:
    """Both as a dict for a checkpoint."""
    weights, numbers = best.weights, Best(best.cost, best.phase, best.epoch)
    return {"progress": asdict(progress), "best": asdict(numbers) | {"weights": weights}}


def restore(state: dict[str, Any]) -> tuple[Progress, Best]:
    """Undo :func:`dump`."""
    return Progress(**state["progress"]), Best(**state["best"])
