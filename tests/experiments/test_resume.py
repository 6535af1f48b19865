"""A run that is cut off, by SIGKILL or otherwise, ends as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from experiments.helpers import TINY, assert_identical, cut

from logprob.experiments import RecipeError, Result, RunError, load, resume, run
from logprob.experiments.cli import main
from logprob.experiments.files import locked
from logprob.experiments.optimization import load_optimizer


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logprob.experiments.runner.draw", lambda *arguments: None)


@pytest.fixture
def long(recipe: dict[str, Any]) -> dict[str, Any]:
    """Two phases with random noise, a plateau schedule, momentum: all that has a state."""
    (phase,) = recipe["phases"]
    phase |= {"objective": "Slow", "epochs": 12}
    phase["scheduler"] = {"class_path": "ReduceOnPlateau", "init_args": {"patience": 1, "threshold": 0.05}}
    second = phase | {"optimizer": {"class_path": "SGD", "init_args": {"lr": 0.01, "momentum": 0.9}}}
    recipe["phases"] = [
        phase,
        second | {"scheduler": {"class_path": "StepLR", "init_args": {"step_size": 5}}},
    ]
    return recipe


def test_kill_9_and_resume(long: dict[str, Any], write: Callable[[dict[str, Any]], str], tmp_path: Path) -> None:
    """A real process, killed in the middle of its first phase."""
    whole = run(long, out=tmp_path / "whole", imports=TINY)
    command = [sys.executable, "-m", "logprob.experiments.cli", "run", write(long), "--import", "tiny"]
    command += ["--out", str(tmp_path / "cut"), "--checkpoint-every", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    lines: list[str] = []
    while len(lines) < 5 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
        lines = [text for path in (tmp_path / "cut").glob("*/metrics.jsonl") for text in path.read_text().split("\n")]
    os.kill(process.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, output
    (folder,) = (tmp_path / "cut").iterdir()
    assert not (folder / "result.json").exists()
    assert main(["resume", str(folder), "--import", "tiny"]) == 0
    assert_identical(whole.folder, folder)


@pytest.mark.parametrize(("epochs", "every"), [(1, 1e9), (7, 1e9), (7, 0), (12, 0), (13, 1e9), (24, 0)])
def test_cut_anywhere(long: dict[str, Any], tmp_path: Path, epochs: int, every: float) -> None:
    """With the last checkpoint just before or long before: lines written since are dropped, none doubled."""
    for phase in long["phases"]:
        phase["objective"] = "NegativeLogLikelihood"
    whole = run(long, out=tmp_path / "whole", imports=TINY)
    folder = cut(long, tmp_path / "cut", epochs, every)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == epochs
    resume(folder, imports=TINY)
    assert_identical(whole.folder, folder)


def test_a_schedule_of_updates_goes_on(recipe: dict[str, Any], tmp_path: Path) -> None:
    (phase,) = recipe["phases"]
    phase |= {"epochs": 6, "scheduler": {"class_path": "InverseTimeDecay", "init_args": {"decay": 0.3}}}
    whole = run(recipe, out=tmp_path / "whole", imports=TINY)
    folder = cut(recipe, tmp_path / "cut", 4, 0)
    resume(folder, imports=TINY)
    assert_identical(whole.folder, folder)


def test_a_damaged_checkpoint_names_the_one_before(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["phases"][0]["epochs"] = 6
    whole = run(recipe, out=tmp_path / "whole", imports=TINY)
    folder = cut(recipe, tmp_path / "cut", 4, 0)
    last = folder / "checkpoints" / "last.safetensors"
    content = bytearray(last.read_bytes())
    content[-3] ^= 1
    last.write_bytes(content)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"checksum does not match.*use --checkpoint previous"):
        resume(folder, imports=TINY)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    resume(folder, imports=TINY, checkpoint="previous")
    assert_identical(whole.folder, folder)


def test_a_truncated_result_is_written_anew(recipe: dict[str, Any], tmp_path: Path) -> None:
    done = run(recipe, out=tmp_path, imports=TINY)
    path = done.folder / "result.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"result\.json is damaged.*logprob resume"):
        run(recipe, out=tmp_path, imports=TINY)
    said: list[str] = []
    again = resume(done.folder, imports=TINY, say=said.append)
    assert again.metrics == done.metrics
    assert (done.folder / "result.damaged.json").stat().st_size == 100
    assert "damaged" in said[0]


def test_lost_lines_are_named(recipe: dict[str, Any], tmp_path: Path) -> None:
    folder = cut(recipe, tmp_path, 2, 0)
    (folder / "metrics.jsonl").write_text("")
    with pytest.raises(RunError, match="has lost lines"):
        resume(folder, imports=TINY)


def test_other_data_are_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    folder = cut(recipe, tmp_path, 1, 0)
    text = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(text.replace("rows: 64", "rows: 65"))
    with pytest.raises(RunError, match="SHA-256 differs"):
        resume(folder, imports=TINY)


def test_a_finished_run_is_not_run_again(recipe: dict[str, Any], tmp_path: Path) -> None:
    first = run(recipe, out=tmp_path, imports=TINY)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    said: list[str] = []
    for again in (
        run(recipe, out=tmp_path, imports=TINY, say=said.append),
        resume(first.folder, imports=TINY),
    ):
        assert isinstance(again, Result)
        assert again.summary == first.summary
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert "--again" in said[0]
    second = run(recipe, out=tmp_path, imports=TINY, again=True)
    assert second.folder != first.folder
    assert_identical(first.folder, second.folder)


def test_an_unfinished_run_is_not_overwritten(recipe: dict[str, Any], tmp_path: Path) -> None:
    folder = cut(recipe, tmp_path, 1, 0)
    with pytest.raises(RunError, match=f"logprob resume {folder}"):
        run(recipe, out=tmp_path, imports=TINY)


def test_the_written_recipe_runs_to_the_same_result(recipe: dict[str, Any], tmp_path: Path) -> None:
    first = run(recipe, {"seed": 4}, out=tmp_path / "a", imports=TINY)
    second = run(first.folder / "recipe.yaml", out=tmp_path / "b", imports=TINY)
    assert_identical(first.folder, second.folder)


def test_a_trained_model_is_loaded(recipe: dict[str, Any], tmp_path: Path) -> None:
    done = run(recipe, out=tmp_path, imports=TINY)
    model, dataset = load(done.folder, imports=TINY)
    assert not model.training
    mean = model().log_prob(dataset.test.x).mean().item()
    assert mean == pytest.approx(done.metrics["test"]["log_likelihood"], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RAdam", "Adagrad", "RMSprop", "SGD"])
def test_optimizers_come_back_as_they_were(name: str, dtype: torch.dtype) -> None:
    """torch would cast NAdam's running product to the parameters' type."""
    weight = torch.nn.Parameter(torch.randn(3, dtype=dtype))
    make = getattr(torch.optim, name)
    first = make([weight], lr=0.1)
    for _ in range(3):
        weight.grad = torch.randn(3, dtype=dtype)
        first.step()
    saved = first.state_dict()
    second = make([weight], lr=0.1)
    load_optimizer(second, saved)
    for key, value in first.state[weight].items():
        held = second.state[weight][key]
        assert torch.equal(held, value) if isinstance(value, torch.Tensor) else held == value
        assert not isinstance(value, torch.Tensor) or held.dtype == value.dtype


def test_a_finished_run_on_other_data_is_not_reported(recipe: dict[str, Any], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = torch.randn(60, 2).tolist()
    recipe["data"] = {"class_path": "Table", "init_args": {"path": str(table)}}
    table.write_text("\n".join(f"{a},{b}" for a, b in rows))
    run(recipe, out=tmp_path / "runs", imports=TINY)
    table.write_text("\n".join(f"{a},{b}" for a, b in rows[:50]))
    with pytest.raises(RunError, match="data are not those"):
        run(recipe, out=tmp_path / "runs", imports=TINY)


def test_one_folder_is_trained_by_one_process(long: dict[str, Any], tmp_path: Path) -> None:
    folder = run(long, out=tmp_path, imports=TINY).folder
    (folder / "result.json").unlink()
    with locked(folder), pytest.raises(RunError, match="another process"):
        resume(folder, imports=TINY)
    with locked(folder), pytest.raises(RunError, match="another process"):
        run(long, out=tmp_path, imports=TINY)
    assert resume(folder, imports=TINY).status == "finished"


def test_training_does_not_go_on_from_weights_alone(long: dict[str, Any], tmp_path: Path) -> None:
    folder = run(long, out=tmp_path, imports=TINY).folder
    (folder / "result.json").unlink()
    with pytest.raises(RunError, match="weights only"):
        resume(folder, checkpoint="best", imports=TINY)


def test_nothing_half_made_is_left(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RunError("cannot write")

    monkeypatch.setattr("logprob.experiments.results.write_atomically", fail)
    with pytest.raises(RunError, match="cannot write"):
        run(recipe, out=tmp_path / "runs", imports=TINY)
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "LBFGS"},
        {"scheduler": {"class_path": "CosineAnnealingLR", "init_args": {"T_max": 0}}},
        {"optimizer.lr": 1e300},
    ],
)
def test_what_would_fail_at_the_first_update_is_found_before(
    recipe: dict[str, Any], tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(RecipeError, match=r"phases\.0"):
        run(recipe, changes, out=tmp_path / "runs", imports=TINY)
    assert not (tmp_path / "runs").exists()
