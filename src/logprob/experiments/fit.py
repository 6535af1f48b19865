"""The training loop: phases, epochs, batches."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.experiments.errors import DivergedError, RecipeError
from logprob.experiments.evaluate import evaluate
from logprob.experiments.recipe import Phase
from logprob.experiments.state import (
    Best,
    Progress,
    copy_weights,
    dump,
    random_state,
    restore,
    set_random_state,
)
from logprob.experiments.stopping import Monitor, improves
from logprob.metrics import Metric


class Watcher(Protocol):
    """What is told of the progress of training."""

    def on_step(self, fit: Fit, loss: float) -> None:
        """One update has been made."""

    def on_epoch(self, fit: Fit, record: Mapping[str, Any]) -> None:
        """One epoch has been finished and evaluated; ``record`` is its line of ``metrics.jsonl``."""

    def on_save(self, fit: Fit) -> None:
        """Training stands at a point from which it can go on: before the first epoch and after each one."""


@dataclass
class Fit:
    """Training of one model by a list of phases.

    Args:
        model: the model, on the device of the rows.
        train: rows to fit.
        valid: rows that choose the best state of the model.
        phases: what to do, in order.
        metrics: evaluated on ``valid`` after every epoch.
        monitor: the number among them that chooses.
        shuffler: generator of the order of the rows, on the CPU.
        watchers: told of every step and epoch.
    """

    model: DistributionModule
    train: Batch
    valid: Batch
    phases: Sequence[Phase]
    metrics: Sequence[Metric]
    monitor: Monitor
    shuffler: torch.Generator
    watchers: Sequence[Watcher] = ()
    progress: Progress = field(default_factory=Progress)
    best: Best = field(default_factory=Best)
    optimizer: Any = None
    scheduler: Any = None

    def run(self) -> None:
        """Train to the end, from the beginning or from where :meth:`load_state` put it.

        Raises:
            DivergedError: at the first loss that is not finite, before the update that it would have made.
        """
        fresh = self.optimizer is None
        while self.progress.phase < len(self.phases):
            if self.optimizer is None:
                self._start_phase()
            if fresh:
                self._tell("on_save")
            self._run_phase()
            fresh = False

    @property
    def phase(self) -> Phase:
        """The present phase."""
        return self.phases[self.progress.phase]

    @property
    def total_steps(self) -> int:
        """Updates that the present phase makes if nothing stops it."""
        return self.phase.steps or (self.phase.epochs or 0) * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one pass over the training rows."""
        return math.ceil(len(self.train.x) / self.phase.batch_size)

    def state(self) -> dict[str, Any]:
        """Everything that the rest of training depends on."""
        return dump(self.progress, self.best) | {
            "model": self.model.state_dict(),
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "random": random_state(self.shuffler),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to where :meth:`state` was called."""
        self.progress, self.best = restore(state)
        self.model.load_state_dict(state["model"])
        if state["optimizer"] is not None:
            self._start_phase()
            load_optimizer(self.optimizer, state["optimizer"])
            if self.scheduler is not None:
                self.scheduler.load_state_dict(state["scheduler"])
        set_random_state(state["random"], self.shuffler)

    def _start_phase(self) -> None:
        chosen = select_parameters(self.model, self.phase.parameters)
        self.optimizer = self.phase.optimizer(chosen)
        self.scheduler = None if self.phase.scheduler is None else self.phase.scheduler(self.optimizer)

    def _run_phase(self) -> None:
        ending = self._ending()
        while ending is None:
            started = time.perf_counter()
            losses = self._run_epoch()
            values = evaluate(self.model, self.valid, self.metrics)
            self._record(losses, values, started)
            ending = self._ending()
            if ending is not None:
                self.progress.next_phase(ending)
                self.optimizer = self.scheduler = None
            self._tell("on_save")

    def _ending(self) -> str | None:
        """Why the present phase is over, or None."""
        done, phase = self.progress, self.phase
        if phase.steps is not None and done.step >= phase.steps:
            return "steps"
        if phase.epochs is not None and done.epoch >= phase.epochs:
            return "epochs"
        if phase.stopping is not None and done.stale >= phase.stopping.patience:
            return "stopping"
        return None

    def _run_epoch(self) -> dict[str, float]:
        """One pass over the rows; means of the loss and of the objective's metrics over the rows."""
        self.model.train()
        sums: dict[str, float] = {}
        rows = 0
        for number, batch in enumerate(self._batches()):
            for name, value in self._step(batch, number).items():
                sums[name] = sums.get(name, 0.0) + value * len(batch.x)
            rows += len(batch.x)
            if self.progress.step == self.phase.steps:
                break
        self.model.eval()
        return {name: total / rows for name, total in sums.items()}

    def _batches(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.train.x), generator=self.shuffler).to(self.train.x.device)
        return (self.train.rows(index) for index in order.split(self.phase.batch_size))

    def _step(self, batch: Batch, number: int) -> dict[str, float]:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.phase.objective(self.model, batch)
        value = loss.value.item()
        if not math.isfinite(value):
            raise DivergedError(self._where(value, number))
        loss.value.backward()
        if self.phase.clip_norm is not None:
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.phase.clip_norm)
        self.optimizer.step()
        self.progress.step += 1
        self.progress.steps += 1
        self._tell("on_step", value)
        return {"loss": value} | {name: _number(metric) for name, metric in loss.metrics.items()}

    def _where(self, value: float, number: int) -> str:
        done = self.progress
        return (
            f"the loss is {value} in phase {done.phase}, epoch {done.epoch + 1}, batch {number}, "
            f"step {done.step + 1}; try a lower learning rate or clip_norm"
        )

    def _record(self, losses: Mapping[str, float], values: Mapping[str, float], started: float) -> None:
        done = self.progress
        done.epoch += 1
        done.epochs += 1
        cost = self._cost(values)
        if improves(cost, self.best.cost):
            self.best = Best(cost, done.phase, done.epoch, copy_weights(self.model))
        stopping = self.phase.stopping
        if improves(cost, done.stop_cost, stopping.threshold if stopping else 0.0):
            done.stop_cost, done.stale = cost, 0
        else:
            done.stale += 1
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if self.scheduler is not None:
            step_schedule(self.scheduler, cost)
        done.seconds += time.perf_counter() - started
        record: dict[str, Any] = {"phase": done.phase, "epoch": done.epoch, "step": done.step}
        record |= {f"train/{name}": value for name, value in losses.items()}
        record |= {f"valid/{name}": value for name, value in values.items()}
        self._tell("on_epoch", record | {"learning_rate": _number(rates[0]), "seconds": done.seconds})

    def _cost(self, values: Mapping[str, float]) -> float:
        if self.monitor.metric not in values:
            raise RecipeError(f"monitor.metric: no metric gives {self.monitor.metric!r} (given: {', '.join(values)})")
        return self.monitor.cost(values[self.monitor.metric])

    def _tell(self, event: str, *details: Any) -> None:
        for watcher in self.watchers:
            listen: Callable[..., None] = getattr(watcher, event)
            listen(self, *details)


def load_optimizer(optimizer: Any, state: Mapping[str, Any]) -> None:
    """As ``optimizer.load_state_dict``, which casts some counters to the parameters' type, with those as they were."""
    optimizer.load_state_dict(state)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, saved in state["state"].items():
        held = optimizer.state[parameters[int(index)]]
        for name, value in saved.items():
            if isinstance(value, Tensor):
                held[name] = value.to(held[name].device, copy=True)


def step_schedule(scheduler: Any, cost: float) -> None:
    """Move a schedule on by one epoch; those that watch a metric are given ``cost``."""
    if isinstance(scheduler, ReduceLROnPlateau) or getattr(scheduler, "takes_metric", False):
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


def _number(value: Tensor | float) -> float:
    return value.item() if isinstance(value, Tensor) else float(value)
