"""Smoke runs: every recipe from end to end in seconds, without data files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from experiments.helpers import TINY

from logprob.experiments import evaluate_run, run
from logprob.experiments.cli import main
from logprob.experiments.recipe import recipe_names


def smaller(name: str) -> dict[str, Any]:
    """What makes a recipe cheap and leaves its kinds of parts as they are."""
    if name.startswith("npc2/"):
        return {"model.units": 2}
    if name.startswith("icebeem/images/"):
        part = "model.network" if "pretrain" in name else "study.images.network"
        return {f"{part}.width": 8}
    return {"model.flow.steps": 2, "model.flow.width": 8} if "glow" in name else {}


@pytest.mark.filterwarnings("ignore:.*of the samples keep all:UserWarning")  # untrained sticks may need more pieces
@pytest.mark.filterwarnings("ignore:FastICA did not converge")  # of features that nobody trained
@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At reduced width; everything else as it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOGPROB_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    said: list[str] = []
    done = run(name, smaller(name), smoke=True, out="out", say=said.append)
    assert done.status == "finished"
    assert done.summary["title"].startswith("smoke: ")
    assert not [line for line in said if "not drawn" in line]
    if "cells" in done.summary:  # a study
        assert done.summary["cells"] > 0
        assert any(done.metrics.values())
        assert {"scored", "selection"} <= set(done.summary["protocol"])
        assert list((done.folder / "figures").glob("*.png"))
        return
    assert done.summary["steps"] == 2 * len(done.summary["phases_ended_by"])
    assert (done.folder / "figures" / "learning_curves.png").stat().st_size > 0
    assert str(evaluate_run(done.folder)) == str(done.metrics)  # on the same stand-in; as text, nan is nan


def test_from_the_command_line(
    recipe: dict[str, Any],
    write: Callable[[dict[str, Any]], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("logprob.experiments.runner.draw", lambda *arguments: None)
    recipe["phases"] = [recipe["phases"][0] | {"warmup_epochs": n, "evaluate_every": 5} for n in (9, 8)]
    path = write(recipe)
    assert main(["run", path, "--smoke", "--import", "tiny", "--phases.0.batch_size", "4"]) == 0
    out = capsys.readouterr().out
    assert "smoke: Tiny" in out
    assert "numbers mean nothing" in out
    assert not (tmp_path / "runs").exists()
    ((folder,),) = [list(made.iterdir()) for made in tmp_path.glob("logprob-smoke-*")]
    text = (folder / "recipe.yaml").read_text()
    for part in ("batch_size: 4", "batch_size: 8", "steps: 2", "epochs: null", "warmup_epochs: 1000.0"):
        assert part in text
    assert main(["run", path, "--smoke", "--import", "tiny", "--out", "here"]) == 0
    assert len(list(Path("here").iterdir())) == 1


def test_it_is_resumed_on_its_stand_in(recipe: dict[str, Any], tmp_path: Path) -> None:
    from logprob.experiments import resume

    recipe["data"] = {"class_path": "TinyRows", "init_args": {"rows": 500}}
    done = run(recipe, smoke=True, out=tmp_path, imports=TINY)
    assert done.summary["data"]["rows"] == {"train": 16, "valid": 8, "test": 8}
    (done.folder / "result.json").unlink()
    assert resume(done.folder, imports=TINY).metrics == done.metrics
