"""Other places for the lines of ``metrics.jsonl``: a CSV table, TensorBoard, Weights & Biases."""

from __future__ import annotations

import csv
import hashlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from logprob.experiments.errors import RecipeError, nearest
from logprob.experiments.fit import Watcher
from logprob.experiments.results import RunFolder

Log = Callable[[Mapping[str, Any], int], None]  # one line, and the epochs of the run so far
Say = Callable[[str], None]

# Module to import and package to install, by name.
PACKAGES = {
    "csv": ("csv", "none"),
    "tensorboard": ("torch.utils.tensorboard", "tensorboard"),
    "wandb": ("wandb", "wandb"),
}


def check_loggers(names: Sequence[str]) -> None:
    """Check that all loggers can be used, before anything is started.

    Raises:
        RecipeError: if there is no such logger, or its package is not installed.
    """
    for name in names:
        if name not in PACKAGES:
            raise RecipeError(f"--logger: unknown logger {name!r}{nearest(name, PACKAGES)}")
        module, package = PACKAGES[name]
        try:
            importlib.import_module(module)
        except ImportError:
            raise RecipeError(f"--logger {name}: the package is not installed; pip install {package}") from None


@contextmanager
def open_loggers(
    names: Sequence[str], folder: RunFolder, config: Mapping[str, Any], say: Say
) -> Iterator[list[Watcher]]:
    """Watchers that log the numbers of every epoch; closed at the end, however it comes.

    A logger that fails is named to ``say`` and left out from then on: training goes on.
    """
    makers = {"csv": _csv, "tensorboard": _tensorboard, "wandb": _wandb}
    with ExitStack() as stack:
        yield [_Logger(name, makers[name](folder, config, stack), say) for name in dict.fromkeys(names)]


class _Logger:
    def __init__(self, name: str, log: Log, say: Say) -> None:
        self.name, self.log, self.say = name, log, say
        self.works = True

    def on_step(self, fit: Any, loss: float) -> None:
        """Do nothing."""

    def on_epoch(self, fit: Any, record: Mapping[str, Any]) -> None:
        """Log one line."""
        if not self.works:
            return
        try:
            self.log(record, fit.progress.epochs)
        except Exception as error:  # whatever the package raises must not end the run
            self.works = False
            self.say(f"warning: --logger {self.name} stopped: {' '.join(str(error).split())}")

    def on_save(self, fit: Any) -> None:
        """Do nothing."""


def _csv(folder: RunFolder, config: Mapping[str, Any], stack: ExitStack) -> Log:
    """``metrics.csv``: written anew at the first line and where a line has new columns, else added to."""
    path, columns = folder.path / "metrics.csv", list[str]()

    def log(record: Mapping[str, Any], epoch: int) -> None:
        if anew := not set(record) <= set(columns):
            records = list(folder.metrics())  # this line is among them
            columns[:] = dict.fromkeys(name for line in records for name in line)
        with path.open("w" if anew else "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            if anew:
                writer.writeheader()
            writer.writerows(records if anew else [record])

    return log


def _tensorboard(folder: RunFolder, config: Mapping[str, Any], stack: ExitStack) -> Log:
    from torch.utils.tensorboard import SummaryWriter

    writers: list[Any] = []

    def log(record: Mapping[str, Any], epoch: int) -> None:
        if not writers:  # now the epoch is known from which a resumed run goes on
            writers.append(SummaryWriter(str(folder.path / "tensorboard"), purge_step=epoch))
            stack.callback(writers[0].close)
        for name, value in record.items():
            writers[0].add_scalar(name, value, epoch)

    return log


def _wandb(folder: RunFolder, config: Mapping[str, Any], stack: ExitStack) -> Log:
    """Project and entity come from WANDB_PROJECT and WANDB_ENTITY; a resumed run goes on under its old identity."""
    wandb = importlib.import_module("wandb")
    started = folder.run()["started"]
    name = hashlib.sha256(f"{folder.path.name} {started}".encode()).hexdigest()[:16]
    run = wandb.init(dir=str(folder.path), id=name, name=folder.path.name, config=dict(config), resume="allow")
    stack.callback(run.finish)
    return lambda record, epoch: run.log(dict(record), step=epoch)
