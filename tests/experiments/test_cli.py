"""The command line: exit codes, one line a mistake, nothing started, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logprob.experiments import run
from logprob.experiments.cli import main
from logprob.experiments.recipe import recipe_names

Write = Callable[[dict[str, Any]], str]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOGPROB_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == recipe_names()
    assert all(len(line.split()) > 1 for line in listed)
    assert main(["show", "npc2/mring"]) == 0
    assert "Synthetic2D" in capsys.readouterr().out


def test_run_evaluate_resume(recipe: dict[str, Any], write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "run",
        write(recipe),
        "--import",
        "tiny",
        "--seed",
        "3",
        "--out",
        "out",
        "--epochs=3",
        "--model.noise",
        "0",
    ]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "Tiny" in shown
    assert "log_likelihood" in shown
    (folder,) = Path("out").iterdir()
    assert folder.name.startswith("tiny-")
    assert folder.name.endswith("-s3")
    summary = json.loads((folder / "result.json").read_text())
    assert summary["epochs"] == 3
    assert summary["seed"] == 3
    assert summary["data"]["provenance"] == {"rule": "tiny", "seed": 0}
    assert set(summary["data"]["sha256"]) == {"train", "valid", "test"}
    assert {"python", "torch", "numpy", "logprob", "git"} <= set(summary["versions"])
    assert summary["versions"]["threads"] == 1
    assert summary["timing"]["train_seconds"] > 0
    names = {path.name for path in folder.iterdir()}
    assert names == {"recipe.yaml", "run.json", "metrics.jsonl", "result.json", "checkpoints", "figures"}
    assert main(["evaluate", str(folder), "--import", "tiny"]) == 0
    assert f"{summary['metrics']['test']['log_likelihood']:.4f}" in capsys.readouterr().out
    assert main(["resume", str(folder), "--import", "tiny"]) == 0
    assert "is finished" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["npc2/mring", "--model.unitz", "3"],
            ["model.unitz: unknown key", "'units'", "layer, squared, units"],
        ),
        (["npc2/mring", "--model.units", "many"], ["model.units: expected int, got 'many'"]),
        (["npc2/mrings"], ["no recipe 'npc2/mrings'", "did you mean 'npc2/mring'"]),
        (["npc2/mring", "--model", "Circut"], ["did you mean 'Circuit'"]),
        (["npc2/mring", "--optimizer", "os.system"], ["'os.system' is an unknown class"]),
        (["npc2/mring", "--model.units"], ["--model.units needs a value"]),
        (["npc2/mring", "--seed", "x"], ["invalid int value"]),
        (["npc2/mring", "--data.name", "ringz"], ["data: Synthetic2D: ", "'ring'"]),
        (["npc2/mring", "--model.inputs", "Categorical"], ["model.inputs.categories: required"]),
        (["npc2/mring", "--device", "warp"], ["--device warp"]),
        (["npc2/mring", "--checkpoint-every", "-5"], ["checkpoint_every: expected at least 0 seconds"]),
        ([], ["required: recipe"]),
    ],
)
def test_a_mistake_starts_nothing(words: list[str], said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("logprob: error: ")
    assert err.count("\n") == 1
    for part in said:
        assert part in err
    assert os.listdir() == []


def test_a_missing_file_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "npc2/debd", "--data-root", "nowhere"]) == 2
    err = capsys.readouterr().err
    assert "nltcs" in err
    assert "nowhere" in err
    assert os.listdir() == []


def test_nan_in_the_table(recipe: dict[str, Any], write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(recipe)
    assert main(["run", path, "--import", "tiny", "--data.nan", "true"]) == 2
    assert "row 3, column 1" in capsys.readouterr().err
    assert os.listdir() == [Path(path).name]


def test_divergence_is_a_failure(recipe: dict[str, Any], write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", write(recipe), "--import", "tiny", "--objective", "Explodes", "--objective.at", "2"]
    assert main(words) == 1
    assert "the loss is nan in phase 0, epoch 1, batch 1, step 2" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["resume", "evaluate"])
def test_what_is_no_run(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, str(tmp_path)]) == 1
    assert "is not the folder of a run" in capsys.readouterr().err


def test_evaluate_sees_damage(recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    done = run(recipe, imports=["tiny"])
    os.truncate(done.folder / "checkpoints" / "best.safetensors", 50)
    assert main(["evaluate", str(done.folder), "--import", "tiny"]) == 1
    assert "best.safetensors is damaged" in capsys.readouterr().err
    assert main(["evaluate", str(done.folder), "--import", "tiny", "--checkpoint", "last"]) == 0


def test_published_runs_are_marked(recipe: dict[str, Any], write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    recipe["published"] = {"model.noise": 0.0}
    path = write(recipe)
    for words, published in (([], False), (["--published"], True)):
        assert main(["run", path, "--import", "tiny", "--out", f"out-{published}", *words]) == 0
        assert ("as published: Tiny" in capsys.readouterr().out) == published
        (folder,) = Path(f"out-{published}").iterdir()
        for name in ("run.json", "result.json"):
            assert json.loads((folder / name).read_text())["published"] is published


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("logprob.experiments.cli._list", lambda args: warnings.warn("so\n  so", stacklevel=1) or 0)
    before = warnings.showwarning
    assert main(["list"]) == 0
    assert capsys.readouterr().err == "warning: so so\n"
    assert warnings.showwarning is before


@pytest.mark.parametrize("verb", ["list", "show", "run", "resume", "evaluate", "sample", "demo"])
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"example:\n  logprob {verb}" in capsys.readouterr().out


def test_options_are_not_taken_for_overrides() -> None:
    from logprob.experiments.cli import _parser, _run_options

    verbs = next(a for a in _parser()._actions if a.dest == "verb").choices
    assert verbs is not None
    options = {name for action in verbs["run"]._actions for name in action.option_strings}  # type: ignore[call-overload]
    assert _run_options() == {name for name in options if name.startswith("--")}


def test_as_a_program(recipe: dict[str, Any], write: Write) -> None:
    """One process for the whole path from the words to the exit code."""
    program = [sys.executable, "-W", "error", "-m", "logprob.experiments.cli"]
    done = subprocess.run(
        [*program, "run", write(recipe), "--import", "tiny"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("run runs/tiny-")
    assert "log_likelihood" in done.stdout
    wrong = subprocess.run([*program, "run", "nothing"], capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("logprob: error: no recipe 'nothing'")
    assert "Traceback" not in wrong.stderr
