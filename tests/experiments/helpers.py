"""What several test files use: a training that is watched, a run that is cut off, two runs that must be the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from logprob.experiments import run
from logprob.experiments.checkpoint import load_checkpoint
from logprob.experiments.fit import Fit
from logprob.experiments.packing import pack
from logprob.experiments.prepare import prepare
from logprob.experiments.recipe import check_recipe

TINY = ["tiny"]


class Spy:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.norms: list[float] = []

    def on_step(self, fit: Fit, loss: float) -> None:
        self.losses.append(loss)
        gradients = [p.grad.flatten() for p in fit.model.parameters() if p.grad is not None]
        self.norms.append(torch.cat(gradients).norm().item())

    def on_epoch(self, fit: Fit, record: Mapping[str, Any]) -> None:
        self.records.append(dict(record))

    def on_save(self, fit: Fit) -> None:
        pass


def train(recipe: dict[str, Any], *overrides: tuple[str, Any]) -> tuple[Fit, Spy]:
    spy = Spy()
    fit = prepare(check_recipe("tiny", recipe, overrides, ["tiny"])).fit([spy])
    fit.run()
    return fit, spy


def assert_identical(a: Path, b: Path) -> None:
    """Everything but the clock: weights, optimizer, generators, metrics of every epoch, final metrics."""
    for name in ("best", "last"):
        one, two = (load_checkpoint(folder / "checkpoints", name) for folder in (a, b))
        for state in (one, two):
            state.get("progress", {}).pop("seconds", None)
            state.get("progress", {}).pop("metrics_size", None)  # the clock's digits are in the file
        (values, tensors), (other_values, other_tensors) = pack(one), pack(two)
        assert values == other_values
        assert all(torch.equal(tensors[key], other_tensors[key]) for key in tensors)
    lines = [[json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (a, b)]
    for line in lines[0] + lines[1]:
        del line["seconds"]
    assert lines[0] == lines[1]
    results = [json.loads((folder / "result.json").read_text()) for folder in (a, b)]
    for key in ("metrics", "best", "epochs", "steps", "parameters", "phases_ended_by", "seed", "status"):
        assert results[0][key] == results[1][key]


class Cut:
    """Ends the process's work, without a word, after some epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_step(self, fit: Any, loss: float) -> None:
        pass

    def on_epoch(self, fit: Any, record: Any) -> None:
        if fit.progress.epochs == self.epochs:
            raise SystemExit

    def on_save(self, fit: Any) -> None:
        pass


def cut(recipe: dict[str, Any], out: Path, epochs: int, every: float) -> Path:
    with pytest.raises(SystemExit):
        run(recipe, out=out, imports=TINY, watchers=[Cut(epochs)], checkpoint_every=every)
    (folder,) = out.iterdir()
    return folder
