"""What a person sees while training runs: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from logprob.experiments.fit import Watcher

_REFRESH = 0.2  # seconds between updates of the bar: redrawing at every step would cost more than a small step
_LINE = 30.0  # seconds between lines where there is no terminal


@contextmanager
def show_progress(quiet: bool = False, stream: TextIO | None = None) -> Iterator[Watcher]:
    """A watcher that writes to ``stream``, by default standard error."""
    stream = sys.stderr if stream is None else stream
    if quiet or not stream.isatty():
        yield Lines(stream, every=math.inf if quiet else _LINE)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[metrics]}"),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        yield Bar(progress)


class Bar:
    """Steps done, the time that is left, the loss and the validation metric."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.task = progress.add_task("training", total=None, metrics="")
        self._drawn_at = 0.0
        self._valid = ""

    def on_step(self, fit: Any, loss: float) -> None:
        """Redraw, if it is time."""
        now = time.monotonic()
        if now - self._drawn_at < _REFRESH:
            return
        self._drawn_at = now
        done = fit.progress
        phase = f"phase {done.phase + 1}/{len(fit.phases)}, " if len(fit.phases) > 1 else ""
        self.progress.update(
            self.task,
            description=f"{phase}epoch {done.epoch + 1}/{math.ceil(fit.total_steps / fit.steps_per_epoch)}",
            completed=done.step,
            total=fit.total_steps,
            metrics=f"loss {loss:.4f}{self._valid}",
        )

    def on_epoch(self, fit: Any, record: Mapping[str, Any]) -> None:
        """Remember the validation metric."""
        value, best = _monitored(fit, record)
        if value is not None:
            self._valid = f" valid {value:.4f} best {best:.4f}"  # without its name: a terminal has 80 columns

    def on_save(self, fit: Any) -> None:
        """Do nothing."""


class Lines:
    """A line of text every half minute, for logs."""

    def __init__(self, stream: TextIO, every: float = _LINE) -> None:
        self.stream, self.every = stream, every
        self._written_at = time.monotonic()

    def on_step(self, fit: Any, loss: float) -> None:
        """Do nothing."""

    def on_epoch(self, fit: Any, record: Mapping[str, Any]) -> None:
        """Write a line, if it is time."""
        if time.monotonic() - self._written_at >= self.every:
            self._written_at = time.monotonic()
            done, (value, best) = fit.progress, _monitored(fit, record)
            where = f"phase {done.phase}, epoch {done.epoch}, step {done.step}/{fit.total_steps}"
            now = "not evaluated" if value is None else f"{value:.4f}"
            metric = f"valid {fit.monitor.metric} {now} (best {best:.4f})"
            print(f"{where}: loss {record['train/loss']:.4f}, {metric}", file=self.stream, flush=True)

    def on_save(self, fit: Any) -> None:
        """Do nothing."""


def _monitored(fit: Any, record: Mapping[str, Any]) -> tuple[float | None, float]:
    """The monitored metric of this epoch, None if it was not evaluated, and of the best."""
    best = fit.monitor.cost(fit.best.cost)  # the sign there and back
    return record.get(f"valid/{fit.monitor.metric}"), best
