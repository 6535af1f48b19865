"""Loggers: the same numbers elsewhere, and never a change of the run."""

from __future__ import annotations

import csv
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from experiments.helpers import TINY, assert_identical, cut

from logprob.experiments import RecipeError, resume, run
from logprob.experiments.cli import main


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logprob.experiments.runner.draw", lambda *arguments: None)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def same(folder: Path) -> bool:
    """Whether the table holds the lines of metrics.jsonl."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [{key: float(value) for key, value in row.items() if value} for row in table(folder)]
    return rows == [{key: float(value) for key, value in line.items()} for line in lines]


def test_a_table(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["phases"][0] |= {"epochs": 5, "evaluate_every": 2}
    plain = run(recipe, out=tmp_path / "plain", imports=TINY)
    logged = run(recipe, out=tmp_path / "logged", imports=TINY, loggers=["csv"])
    assert_identical(plain.folder, logged.folder)
    assert same(logged.folder)
    assert len(table(logged.folder)) == 5


def test_a_table_of_a_run_that_was_cut_off(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["phases"][0]["epochs"] = 6
    folder = cut(recipe, tmp_path, 4, 1e9)  # the last checkpoint is that before the first epoch
    resume(folder, imports=TINY, loggers=["csv"])
    assert same(folder)


class FakeRun:
    def __init__(self, **settings: Any) -> None:
        self.settings, self.logged, self.finished = settings, list[Any](), False

    def log(self, record: dict[str, float], step: int) -> None:
        self.logged.append((step, record))
        if record["train/loss"] is None or step == self.settings["config"].get("seed"):
            raise ConnectionError("no network")

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    runs: list[FakeRun] = []
    module: Any = types.ModuleType("wandb")
    module.init = lambda **settings: runs.append(FakeRun(**settings)) or runs[-1]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return runs


def test_weights_and_biases(recipe: dict[str, Any], tmp_path: Path, wandb: list[FakeRun]) -> None:
    folder = run(recipe, out=tmp_path, imports=TINY, loggers=["wandb"]).folder
    (logged,) = wandb
    assert [step for step, _ in logged.logged] == [1, 2]
    assert logged.finished
    assert logged.settings["name"] == folder.name
    assert logged.settings["config"]["title"] == "Tiny"
    assert "project" not in logged.settings  # wandb reads its environment variables itself


def test_a_logger_that_fails_does_not_end_the_run(recipe: dict[str, Any], tmp_path: Path, wandb: list[FakeRun]) -> None:
    said: list[str] = []
    recipe["phases"][0]["epochs"] = 4
    done = run(recipe, {"seed": 2}, out=tmp_path, imports=TINY, loggers=["wandb"], say=said.append)
    assert done.status == "finished"
    assert said[-1] == "warning: --logger wandb stopped: no network"
    assert len(wandb[0].logged) == 2


def test_tensorboard(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            written.append(("purge", 0.0, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def close(self) -> None:
            written.append(("closed", 0.0, 0))

    module: Any = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run(recipe, out=tmp_path, imports=TINY, loggers=["tensorboard"])
    assert written[0] == ("purge", 0.0, 1)
    assert written[-1] == ("closed", 0.0, 0)
    assert [step for name, _, step in written if name == "valid/log_likelihood"] == [1, 2]


@pytest.mark.parametrize(
    ("name", "module", "words"),
    [
        ("wandb", "wandb", "pip install wandb"),
        ("tensorboard", "torch.utils.tensorboard", "pip install tensorboard"),
        ("cvs", "none", "unknown logger 'cvs'; did you mean 'csv'"),
    ],
)
def test_a_logger_that_is_not_there(
    recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    module: str,
    words: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RecipeError, match=words):
        run(recipe, out=tmp_path / "runs", imports=TINY, loggers=["csv", name])
    assert not (tmp_path / "runs").exists()
    assert main(["run", "npc2/ring", "--logger", name, "--out", str(tmp_path / "runs")]) == 2
    assert words in capsys.readouterr().err
