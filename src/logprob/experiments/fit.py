"""The training loop: phases, epochs, batches."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.experiments.errors import DivergedError, RecipeError
from logprob.experiments.evaluate import evaluate
from logprob.experiments.objectives import (
    finish_epoch,
    load_objective,
    objective_parameters,
    objective_state,
    prepare_rows,
)
from logprob.experiments.optimization import (
    clip_gradients,
    load_optimizer,
    moves_every_update,
    scaled_rates,
    select_parameters,
    step_schedule,
)
from logprob.experiments.schema import Phase
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
        """One epoch is over; ``record`` is its line of ``metrics.jsonl``."""

    def on_save(self, fit: Fit) -> None:
        """Training stands at a point from which it can go on: before the first epoch and after each one."""


@dataclass
class Fit:
    """Training of one model by a list of phases.

    An objective that is more than a function may have any of these, which are looked for by name:

    - ``state_dict()`` and ``load_state_dict(state)``: its state is kept in checkpoints, and restored by
      :meth:`load_state`; tensors, plain values and nested dicts and lists of those. Every phase starts with
      its own objective as it was made;
    - ``to(device)``: called before training;
    - ``prepare(model, rows)``: called on all training rows when its phase begins, or is taken up again; the phase
      trains on the rows that it returns. There it can compute once what every epoch would compute again;
    - ``finish_epoch(model)``: called after the last update of each epoch, before validation and before the
      checkpoint, so that what it changes in the model is what is evaluated and kept.

    An ``nn.Module`` has the first two, and its parameters are given to the optimizer beside the model's.

    Args:
        model: the model, on the device of the rows.
        train: rows to fit.
        valid: rows that choose the best state of the model.
        phases: what to do, in order.
        metrics: evaluated on ``valid`` after every epoch, or where the phase says.
        monitor: the number among them that chooses.
        shuffler: generator of the order of the rows, on the CPU.
        watchers: told of every step and epoch.
        train_checked: training rows that are evaluated as well.

    Attributes:
        rows: what the present phase trains on: ``train``, or what its objective made of it.
        batch_seconds: time of each update since this object was made, that of its batch included.
    """

    model: DistributionModule
    train: Batch
    valid: Batch
    phases: Sequence[Phase]
    metrics: Sequence[Metric]
    monitor: Monitor
    shuffler: torch.Generator
    watchers: Sequence[Watcher] = ()
    train_checked: Batch | None = None
    progress: Progress = field(default_factory=Progress)
    best: Best = field(default_factory=Best)
    optimizer: Any = None
    scheduler: Any = None
    rows: Batch | None = None
    batch_seconds: array[float] = field(default_factory=lambda: array("d"))

    def run(self) -> None:
        """Train to the end, from the beginning or from where :meth:`load_state` put it.

        Raises:
            DivergedError: at the first loss, or norm of a gradient that is to be clipped, that is not finite;
                before the update that it would have made.
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
        return math.ceil(len(self._phase_rows.x) / self.phase.batch_size)

    @property
    def _phase_rows(self) -> Batch:
        return self.train if self.rows is None else self.rows

    def state(self) -> dict[str, Any]:
        """Everything that the rest of training depends on."""
        return dump(self.progress, self.best) | {
            "model": self.model.state_dict(),
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "objective": None if self.optimizer is None else objective_state(self.phase.objective),
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
            load_objective(self.phase.objective, state.get("objective"))
        set_random_state(state["random"], self.shuffler)

    def _start_phase(self) -> None:
        self.rows = prepare_rows(self.phase.objective, self.model, self.train)
        chosen = select_parameters(self.model, self.phase.parameters)
        self.optimizer = self.phase.optimizer([*chosen, *objective_parameters(self.phase.objective)])
        self.scheduler = None if self.phase.scheduler is None else self.phase.scheduler(self.optimizer)

    def _run_phase(self) -> None:
        ending = self._ending()
        while ending is None:
            started = time.perf_counter()
            losses = self._run_epoch()
            finish_epoch(self.phase.objective, self.model)
            self.progress.epoch += 1
            self.progress.epochs += 1
            record = {f"train/{name}": value for name, value in losses.items()}
            record |= self._evaluate() if self._is_evaluated() else {}
            self._record(record, started)
            ending = self._ending()
            if ending is not None:
                self.progress.next_phase(ending)
                self.optimizer = self.scheduler = None
            self._tell("on_save")

    def _ending(self) -> str | None:
        """Why the present phase is over, or None."""
        stopping = self.phase.stopping
        stale = stopping is not None and self.progress.stale >= stopping.patience and self._is_evaluated()
        return self._length_reached() or ("stopping" if stale else None)

    def _length_reached(self) -> str | None:
        done, phase = self.progress, self.phase
        if phase.steps is not None and done.step >= phase.steps:
            return "steps"
        return "epochs" if phase.epochs is not None and done.epoch >= phase.epochs else None

    def _is_evaluated(self) -> bool:
        """Whether the epoch that is over is one to evaluate."""
        return self.progress.epoch % self.phase.evaluate_every == 0 or self._length_reached() is not None

    def _run_epoch(self) -> dict[str, float]:
        """One pass over the rows; means of the loss and of the objective's metrics over the rows."""
        self.model.train()
        sums: dict[str, float] = {}
        rows = 0
        started = time.perf_counter()
        for number, batch in enumerate(self._batches()):
            for name, value in self._step(batch, number).items():
                sums[name] = sums.get(name, 0.0) + value * len(batch.x)
            rows += len(batch.x)
            now = time.perf_counter()
            self.batch_seconds.append(now - started)
            started = now
            if self.progress.step == self.phase.steps:
                break
        self.model.eval()
        return {name: total / rows for name, total in sums.items()}

    def _batches(self) -> Iterator[Batch]:
        train = self._phase_rows
        rows, size, augmentation = len(train.x), self.phase.batch_size, self.phase.augmentation
        if self.phase.shuffle:
            order = torch.randperm(rows, generator=self.shuffler).to(train.x.device)
            batches = (train.rows(index) for index in order.split(size))
        else:
            batches = (train.rows(slice(start, start + size)) for start in range(0, rows, size))
        return batches if augmentation is None else map(augmentation, batches)

    def _step(self, batch: Batch, number: int) -> dict[str, float]:
        """One update; its loss and the objective's metrics, fetched from the device in one go."""
        self.optimizer.zero_grad(set_to_none=True)
        terms = self._backward(batch)
        norm = None if self.phase.clip_norm is None else clip_gradients(self.optimizer, self.phase.clip_norm)
        *numbers, length = fetch([*terms.values(), 0.0 if norm is None else norm])
        values = dict(zip(terms, numbers, strict=True))
        for name, value in (("loss", values["loss"]), ("norm of the gradient", length)):
            if not math.isfinite(value):
                raise DivergedError(f"the {name} is {value} {self._where(number)}")
        with scaled_rates(self.optimizer, self._warmup(self.progress.step + 1)):
            self.optimizer.step()
        if moves_every_update(self.scheduler):
            self.scheduler.step()
        self.progress.step += 1
        self.progress.steps += 1
        self._tell("on_step", values["loss"])
        return values

    def _backward(self, batch: Batch) -> dict[str, Tensor | float]:
        """Gradients of the batch, part by part; loss and metrics, not fetched yet."""
        sums: dict[str, Tensor | float] = {}
        size = math.ceil(len(batch.x) / self.phase.accumulate)
        for start in range(0, len(batch.x), size):
            part = batch.rows(slice(start, start + size)) if size < len(batch.x) else batch
            share = len(part.x) / len(batch.x)
            loss = self.phase.objective(self.model, part)
            (loss.value if share == 1.0 else loss.value * share).backward()
            for name, value in {"loss": loss.value.detach(), **loss.metrics}.items():
                weighted = value if share == 1.0 else value * share
                sums[name] = sums[name] + weighted if name in sums else weighted
        return sums

    def _warmup(self, step: int) -> float:
        """Factor of the learning rates at update ``step`` of the phase, counted from 1."""
        steps = self.phase.warmup_epochs * self.steps_per_epoch
        return min(1.0, step / steps) if steps else 1.0

    def _where(self, number: int) -> str:
        done = self.progress
        return (
            f"in phase {done.phase}, epoch {done.epoch + 1}, batch {number}, "
            f"step {done.step + 1}; try a lower learning rate or clip_norm"
        )

    def _evaluate(self) -> dict[str, float]:
        splits = {"valid": self.valid} | ({} if self.train_checked is None else {"train_eval": self.train_checked})
        return {
            f"{split}/{name}": value
            for split, rows in splits.items()
            for name, value in evaluate(self.model, rows, self.metrics).items()
        }

    def _record(self, numbers: Mapping[str, float], started: float) -> None:
        done = self.progress
        rate = self.optimizer.param_groups[0]["lr"] * self._warmup(done.step)
        cost = self._cost(numbers) if self._is_evaluated() else None
        done.stale += 1
        if cost is not None:
            self._compare(cost)
        if self.scheduler is not None and not moves_every_update(self.scheduler):
            step_schedule(self.scheduler, cost)
        done.seconds += time.perf_counter() - started
        record = {"phase": done.phase, "epoch": done.epoch, "step": done.step, **numbers}
        self._tell("on_epoch", record | {"learning_rate": fetch([rate])[0], "seconds": done.seconds})

    def _compare(self, cost: float) -> None:
        """Take note of an evaluation: is it the best, and has it improved enough to go on?"""
        done, stopping = self.progress, self.phase.stopping
        if improves(cost, self.best.cost):
            self.best = Best(cost, done.phase, done.epoch, copy_weights(self.model))
        if improves(cost, done.stop_cost, stopping.threshold if stopping else 0.0):
            done.stop_cost, done.stale = cost, 0

    def _cost(self, numbers: Mapping[str, float]) -> float:
        key = f"valid/{self.monitor.metric}"
        if key not in numbers:
            given = ", ".join(name.partition("/")[2] for name in numbers if name.startswith("valid/"))
            raise RecipeError(f"monitor.metric: no metric gives {self.monitor.metric!r} (given: {given})")
        return self.monitor.cost(numbers[key])

    def _tell(self, event: str, *details: Any) -> None:
        for watcher in self.watchers:
            listen: Callable[..., None] = getattr(watcher, event)
            listen(self, *details)


def fetch(values: Sequence[Tensor | float]) -> list[float]:
    """Numbers from scalars, waiting for the device once however many there are."""
    tensors = [value.detach() for value in values if isinstance(value, Tensor)]
    if not tensors:
        return [float(value) for value in values]
    if len(tensors) > 1 and tensors[0].device.type != "cpu":
        numbers = iter(torch.stack([tensor.to(tensors[0]) for tensor in tensors]).tolist())
    else:
        numbers = (tensor.item() for tensor in tensors)
    return [float(next(numbers) if isinstance(value, Tensor) else value) for value in values]
