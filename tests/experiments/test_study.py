"""Studies: cells, resuming, failures, the table and the command line."""

from __future__ import annotations

import json

import pytest

from logprob.experiments import RecipeError, RunError, evaluate_run, resume, run
from logprob.experiments.cli import main

STUDY = ("tiny_study",)


@pytest.fixture(autouse=True)
def path(monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def recipe(**arguments):
    return {"title": "Tiny", "study": {"class_path": "TinyStudy", "init_args": arguments}}


def test_what_it_writes(tmp_path):
    done = run(recipe(), out=tmp_path, imports=STUDY, overrides={"study.sizes": [1, 2]}, data_root=tmp_path)
    assert list(done.metrics["value"]) == ["1", "2"]
    assert done.summary["protocol"] == {"scored": "energy.f", "selection": "heldout"}
    assert done.summary["data"] == {"numbers": "00"}
    assert done.summary["cells"] == 2
    assert (done.folder / "figures" / "values.png").stat().st_size > 0
    assert (done.folder / "cells" / "size-1").read_text() == "kept"
    assert (done.folder / "rows.csv").read_text().startswith("size,value,smoke,seed,scored")
    assert [json.loads(line)["cell"] for line in (done.folder / "metrics.jsonl").read_text().splitlines()] == [
        "size-1",
        "size-2",
    ]


def test_cells_do_not_depend_on_those_before_them(tmp_path):
    both = run(recipe(sizes=[1, 2]), out=tmp_path, imports=STUDY)
    alone = run(recipe(sizes=[2]), out=tmp_path, imports=STUDY)
    assert both.metrics["value"]["2"] == alone.metrics["value"]["2"]


def test_a_failing_cell_stops_no_other_and_is_tried_again(tmp_path):
    obstacle = tmp_path / "obstacle"
    obstacle.touch()
    with pytest.raises(RunError, match=r"1 of 3 cells failed, the first is size-2 \(size 2 is not liked\)"):
        run(recipe(fail_if=str(obstacle)), out=tmp_path / "runs", imports=STUDY)
    (folder,) = (tmp_path / "runs").iterdir()
    before = (folder / "metrics.jsonl").read_text()
    obstacle.unlink()
    done = resume(folder, imports=STUDY)
    assert (folder / "metrics.jsonl").read_text().startswith(before)
    assert list(done.metrics["value"]) == ["1", "2", "3"]
    assert done.metrics == run(recipe(), out=tmp_path / "new", imports=STUDY).metrics


def test_half_a_line_is_dropped(tmp_path):
    done = run(recipe(), out=tmp_path, imports=STUDY)
    lines = (done.folder / "metrics.jsonl").read_bytes()
    (done.folder / "result.json").unlink()
    (done.folder / "metrics.jsonl").write_bytes(lines[:-20])
    assert resume(done.folder, imports=STUDY).metrics == done.metrics
    (done.folder / "result.json").unlink()
    (done.folder / "metrics.jsonl").write_bytes(b"no json\n" + lines)
    with pytest.raises(RunError, match=r"damaged \(line 1"):
        resume(done.folder, imports=STUDY)


def test_it_is_not_run_twice(tmp_path):
    said = []
    first = run(recipe(), out=tmp_path, imports=STUDY)
    assert run(recipe(), out=tmp_path, imports=STUDY, say=said.append).metrics == first.metrics
    assert "nothing was run" in said[0]
    assert run(recipe(), out=tmp_path, imports=STUDY, again=True).folder != first.folder


def test_a_smoke_run_is_small(tmp_path):
    done = run(recipe(), out=tmp_path, imports=STUDY, smoke=True)
    assert list(done.metrics["value"]) == ["1"]
    assert "True" in (done.folder / "rows.csv").read_text()
    assert "smoke: Tiny" in (done.folder / "recipe.yaml").read_text()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"study.twice": True}, "two cells are named 'a'"),
        ({"study.sizes": []}, "nothing to run"),
        ({"study.size": [1]}, r"study.size: unknown key; did you mean 'sizes'"),
        ({"phases": []}, "phases: unknown key"),
        ({"study": "LogLikelihood"}, "is not Study"),
    ],
)
def test_what_is_refused(tmp_path, changes, match):
    with pytest.raises(RecipeError, match=match):
        run(recipe(), changes, out=tmp_path / "runs", imports=STUDY)
    assert not (tmp_path / "runs").exists()


def test_there_is_no_one_model_to_evaluate(tmp_path):
    done = run(recipe(), out=tmp_path, imports=STUDY)
    with pytest.raises(RunError, match="study of several models"):
        evaluate_run(done.folder, imports=STUDY)


def test_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "title: Tiny\nstudy: {class_path: TinyStudy}\n"
    (tmp_path / "tiny.yaml").write_text(text)
    assert main(["run", "tiny.yaml", "--import", "tiny_study", "--study.sizes", "[1]", "--seed", "3"]) == 0
    out = capsys.readouterr()
    assert "1 cells" in out.out
    assert "size-1" in out.err
