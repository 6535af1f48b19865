"""Samples of a run from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logprob.experiments import run, sample_run
from logprob.experiments.cli import main

IMPORTS = ["tiny", "tiny_flows"]
WORDS = ["--import", "tiny", "--import", "tiny_flows"]


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logprob.experiments.runner.draw", lambda *arguments: None)


@pytest.fixture
def folder(recipe: dict[str, Any], tmp_path: Path) -> Path:
    """A run of a flow of images."""
    recipe["data"] = {"class_path": "TinyCodes", "init_args": {"image": True, "categories": 4}}
    recipe |= {"model": "image_flow", "metrics": ["FlowBound"], "imports": IMPORTS}
    recipe["phases"][0]["objective"] = "SelfNormalizingLikelihood"
    return run(recipe, out=tmp_path, imports=IMPORTS).folder


def test_samples_and_a_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(folder), "--count", "300", *WORDS]) == 0
    assert capsys.readouterr().out.split() == [str(folder / f"samples.{suffix}") for suffix in ("npy", "json", "png")]
    rows = np.load(folder / "samples.npy")
    assert rows.shape == (300, 16)
    assert set(np.unique(rows)) <= {0, 1, 2, 3}
    assert main(["sample", str(folder), "--count", "3", "--inverse", "approximate", *WORDS]) == 0
    assert np.load(folder / "samples.npy").shape == (300, 16)  # nothing is overwritten
    assert np.load(folder / "samples-2.npy").shape == (3, 16)
    assert (folder / "samples-2.png").exists()
    first, second = (json.loads((folder / f"samples{number}.json").read_text()) for number in ("", "-2"))
    assert (first["count"], first["inverse"]) == (300, "exact")
    how = {"checkpoint": "best", "inverse": "approximate", "seed": 0, "count": 3, "device": "cpu"}
    assert {key: second[key] for key in how} == how


def test_the_files_of_one_drawing_have_one_number(folder: Path) -> None:
    (folder / "samples.json").write_text("mine")
    files = sample_run(folder, 2, imports=IMPORTS)
    assert {file.name for file in files} == {"samples-2.npy", "samples-2.json", "samples-2.png"}
    assert (folder / "samples.json").read_text() == "mine"


def test_the_seed_decides(folder: Path) -> None:
    files = [sample_run(folder, 5, seed=seed, imports=IMPORTS)[0] for seed in (1, 1, 2)]
    first, again, other = (np.load(file) for file in files)
    assert (first == again).all()
    assert (first != other).any()


def test_what_cannot_be_sampled(
    folder: Path,
    recipe: dict[str, Any],
    tmp_path: Path,
    write: Callable[[dict[str, Any]], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["sample", str(folder), "--count", "0", *WORDS]) == 2
    recipe |= {"model": {"class_path": "TinyPixels", "init_args": {"bound": "none"}}, "metrics": ["PixelMetric"]}
    recipe["phases"][0]["objective"] = "PixelObjective"
    hidden = run(recipe, out=tmp_path / "hidden", imports=IMPORTS).folder
    capsys.readouterr()
    for words in ([], ["--inverse", "approximate"]):
        assert main(["sample", str(hidden), *words, *WORDS]) == 1
        err = capsys.readouterr().err
        assert err.startswith("logprob: error: cannot sample: ")
        assert err.count("\n") == 1
    assert not list(hidden.glob("samples*"))
