"""The folder of a run: what was asked, what happened, what came out."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logprob.experiments.checkpoint import (
    checkpoint_names,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from logprob.experiments.errors import RunError
from logprob.experiments.files import read_json, to_json, write_atomically, write_json, writing


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Args:
        folder: where everything about it lies.
        summary: the content of ``result.json``.
    """

    folder: Path
    summary: Mapping[str, Any]

    @property
    def status(self) -> str:
        """``"finished"`` or ``"diverged"``."""
        return self.summary["status"]

    @property
    def metrics(self) -> Mapping[str, Mapping[str, float]]:
        """Numbers of the best checkpoint by split, ``{"valid": {...}, "test": {...}}``."""
        splits = self.summary.get("metrics", {})
        return {split: {name: float(value) for name, value in m.items()} for split, m in splits.items()}


@dataclass(frozen=True)
class RunFolder:
    """Names of the files of a run, and how they are written.

    ``recipe.yaml`` (runs again as it is), ``run.json`` (command, data, versions: written before training),
    ``metrics.jsonl`` (a line an epoch), ``checkpoints/``, ``result.json`` (written last) and ``figures/``.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"

    @property
    def metrics_file(self) -> Path:
        """File of one line per epoch."""
        return self.path / "metrics.jsonl"

    def create(self, recipe: str, run: Mapping[str, Any]) -> None:
        """Make the folder.

        Raises:
            RunError: if it is there already, or cannot be written.
        """
        # Made beside its place and renamed: a folder that is there can always be resumed.
        fresh = RunFolder(self.path.with_name(f".{self.path.name}.{os.getpid()}"))
        try:
            with writing(self.path):
                fresh.checkpoints.mkdir(parents=True)
                fresh.figures.mkdir()
            write_json(fresh.path / "run.json", run)
            write_atomically(fresh.metrics_file, b"")
            write_atomically(fresh.path / "recipe.yaml", recipe.encode())
            with writing(self.path):
                if self.path.exists():
                    raise RunError(f"{self.path} exists already")
                os.rename(fresh.path, self.path)
        finally:
            shutil.rmtree(fresh.path, ignore_errors=True)

    def run(self) -> dict[str, Any]:
        """What was written when the run was started."""
        if not (self.path / "recipe.yaml").is_file():
            raise RunError(f"{self.path} is not the folder of a run (it has no recipe.yaml)")
        return _complete(self.path / "run.json", ("recipe", "seed", "device", "data_root", "folder", "data", "command"))

    def result(self) -> Result | None:
        """What the run came to, or None if it has not ended.

        Raises:
            RunError: if ``result.json`` is damaged.
        """
        path = self.path / "result.json"
        if not path.exists():
            return None
        try:
            return Result(self.path, _complete(path, ("status", "title", "parameters", "epochs", "timing")))
        except RunError as error:
            raise RunError(f"{error}; `logprob resume {self.path}` writes it anew from the last checkpoint") from None

    def write_result(self, summary: Mapping[str, Any]) -> Result:
        """Write ``result.json``; a damaged one is kept beside it."""
        path = self.path / "result.json"
        if path.exists():
            with writing(path):
                os.replace(path, free_path(self.path / "result.damaged.json"))
        write_json(path, summary)
        return Result(self.path, read_json(path))

    def save(self, state: dict[str, Any], best: Mapping[str, Any] | None) -> None:
        """Write the last checkpoint, and the best one if it is a new one; the one before the last stays."""
        with writing(self.checkpoints):
            self.checkpoints.mkdir(exist_ok=True)
        if best is not None:
            self.save_best(best)
        save_checkpoint(self.checkpoints, "last", state, keep="previous")

    def save_best(self, best: Mapping[str, Any]) -> None:
        """Write the best checkpoint."""
        save_checkpoint(self.checkpoints, "best", dict(best))

    def load(self, checkpoint: str | None = None) -> dict[str, Any]:
        """The state in a checkpoint, the latest if none is named."""
        return load_checkpoint(self.checkpoints, checkpoint or latest_checkpoint(self.checkpoints))

    def has_checkpoint(self) -> bool:
        """Whether training got as far as a checkpoint."""
        return bool(checkpoint_names(self.checkpoints))

    def append_metrics(self, record: Mapping[str, Any]) -> int:
        """Add a line to ``metrics.jsonl``; the size of the file after it."""
        line = json.dumps(to_json(record), allow_nan=False) + "\n"
        with writing(self.metrics_file), self.metrics_file.open("ab") as file:
            file.write(line.encode())
            file.flush()
            return file.tell()

    def truncate_metrics(self, size: int) -> None:
        """Drop what was written to ``metrics.jsonl`` after a checkpoint.

        Raises:
            RunError: if lines from before it are missing.
        """
        with writing(self.metrics_file):
            present = self.metrics_file.stat().st_size if self.metrics_file.exists() else 0
            if present < size:
                raise RunError(f"{self.metrics_file} has lost lines: {present} bytes, where the checkpoint has {size}")
            os.truncate(self.metrics_file, size)

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        for line in self.metrics_file.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def _complete(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """A JSON file with at least these keys."""
    content = read_json(path)
    missing = [key for key in keys if key not in content]
    if missing:
        raise RunError(f"{path} is damaged (it has no {missing[0]!r})")
    return content


def free_path(path: Path, *beside: str) -> Path:
    """``path``, or the first of ``stem-2.suffix``, ``stem-3.suffix`` that is free, as is each suffix ``beside``."""
    number, free = 1, path
    while any(taken.exists() for taken in (free, *(free.with_suffix(suffix) for suffix in beside))):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


class Saver:
    """Writes metrics and checkpoints while training runs.

    Args:
        folder: of the run.
        every: seconds between checkpoints; 0 writes one every epoch. It changes no result.
    """

    def __init__(self, folder: RunFolder, every: float) -> None:
        self.folder, self.every = folder, every
        self._saved_at = -float("inf")
        self._saved_best: tuple[int, int] | None = None

    def on_step(self, fit: Any, loss: float) -> None:
        """Do nothing."""

    def on_epoch(self, fit: Any, record: Mapping[str, Any]) -> None:
        """Add the line of this epoch."""
        fit.progress.metrics_size = self.folder.append_metrics(record)

    def on_save(self, fit: Any) -> None:
        """Write a checkpoint if it is time, or if a phase is over."""
        due = time.monotonic() - self._saved_at >= self.every
        if due or fit.progress.epoch == 0:
            where = (fit.best.phase, fit.best.epoch)
            best = best_state(fit) if fit.best.weights and where != self._saved_best else None
            self.folder.save(fit.state(), best)
            self._saved_at, self._saved_best = time.monotonic(), where


def best_state(fit: Any) -> dict[str, Any]:
    """Content of the best checkpoint: of the present weights if no epoch had a finite monitored metric."""
    best = fit.best
    return {
        "model": best.weights or fit.model.state_dict(),
        "phase": best.phase,
        "epoch": best.epoch,
        "cost": best.cost,
    }
