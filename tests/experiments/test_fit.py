"""The loop: phases, steps, clipping, stopping, schedules, the best state."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from experiments.helpers import train

from logprob.experiments import DivergedError, ReduceOnPlateau, run
from logprob.experiments.prepare import prepare
from logprob.experiments.recipe import check_recipe
from logprob.experiments.stopping import Monitor, improves


def test_epochs_and_steps(recipe: dict[str, Any]) -> None:
    fit, spy = train(recipe, ("epochs", 3))
    assert (fit.progress.epochs, fit.progress.steps) == (3, 9)  # 64 rows in batches of 24, 24 and 16
    assert fit.progress.endings == ["epochs"]
    assert [record["step"] for record in spy.records] == [3, 6, 9]
    fit, _ = train(recipe, ("epochs", None), ("steps", 4))
    assert (fit.progress.epochs, fit.progress.steps) == (2, 4)
    assert fit.progress.endings == ["steps"]


def test_it_learns(recipe: dict[str, Any]) -> None:
    _, spy = train(recipe, ("epochs", 60), ("model.noise", 0))
    assert spy.records[-1]["valid/log_likelihood"] > max(-3.2, spy.records[0]["valid/log_likelihood"])


def test_the_seed_decides_everything(recipe: dict[str, Any]) -> None:
    losses = [train(recipe, ("seed", seed))[1].losses for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_model_and_rows_have_the_dtype(recipe: dict[str, Any], dtype: torch.dtype) -> None:
    fit, _ = train(recipe, ("dtype", str(dtype).removeprefix("torch.")))
    assert {t.dtype for t in (*fit.model.parameters(), *fit.model.buffers(), fit.train.x)} == {dtype}
    assert torch.get_default_dtype() is torch.float32


def test_initialize_sees_the_training_rows(recipe: dict[str, Any]) -> None:
    fit, _ = train(recipe)
    assert torch.allclose(fit.model.get_buffer("shift"), fit.train.x.mean(0))


def test_the_gradient_is_clipped(recipe: dict[str, Any]) -> None:
    _, free = train(recipe)
    _, clipped = train(recipe, ("clip_norm", 0.01))
    assert max(free.norms) > 0.1
    assert max(clipped.norms) <= 0.0101


def test_phases_train_their_own_parameters(recipe: dict[str, Any]) -> None:
    (phase,) = recipe["phases"]
    recipe["phases"] = [phase | {"parameters": "^loc$"}, phase | {"parameters": "scale", "epochs": 3}]
    start = prepare(check_recipe("tiny", recipe, (), ["tiny"])).model.state_dict()
    start = {name: value.clone() for name, value in start.items()}
    fit, spy = train(recipe | {"phases": recipe["phases"][:1]})
    assert torch.equal(fit.model.get_parameter("log_scale"), start["log_scale"])
    assert not torch.equal(fit.model.get_parameter("loc"), start["loc"])
    fit, spy = train(recipe)
    assert [record["phase"] for record in spy.records] == [0, 0, 1, 1, 1]
    assert fit.progress.endings == ["epochs", "epochs"]


def test_stopping_counts_from_the_best(recipe: dict[str, Any]) -> None:
    fit, spy = train(recipe, ("epochs", 50), ("optimizer.lr", 1e-12), ("stopping", {"patience": 4}))
    assert fit.progress.endings == ["stopping"]
    assert len(spy.records) == 5  # the first is the best, and four do not improve on it


def test_the_best_state_is_that_of_the_best_epoch(recipe: dict[str, Any]) -> None:
    fit, spy = train(recipe, ("epochs", 12), ("optimizer.lr", 2.0))
    values = [record["valid/log_likelihood"] for record in spy.records]
    assert fit.best.epoch == values.index(max(values)) + 1 < 12
    fit.model.load_state_dict(fit.best.weights)
    from logprob.experiments.evaluate import evaluate

    assert evaluate(fit.model, fit.valid, fit.metrics)["log_likelihood"] == max(values)


def test_a_lower_is_better_monitor(recipe: dict[str, Any]) -> None:
    fit, spy = train(
        recipe,
        ("epochs", 12),
        ("optimizer.lr", 2.0),
        ("monitor.metric", "bits_per_dim"),
        ("monitor.mode", "min"),
    )
    values = [record["valid/bits_per_dim"] for record in spy.records]
    assert fit.best.epoch == values.index(min(values)) + 1


@pytest.mark.parametrize("name", ["ReduceOnPlateau", "ReduceLROnPlateau"])
def test_plateau_schedules_get_the_metric(recipe: dict[str, Any], name: str) -> None:
    schedule = {"class_path": name, "init_args": {"patience": 0, "factor": 0.5}}
    recipe["phases"][0]["scheduler"] = schedule
    extra = [] if name == "ReduceOnPlateau" else [("scheduler.threshold_mode", "abs")]
    _, spy = train(recipe, ("epochs", 4), ("optimizer.lr", 1e-6), *extra)
    assert [record["learning_rate"] for record in spy.records] == [1e-6, 1e-6, 5e-7, 2.5e-7]


def test_other_schedules_step_each_epoch(recipe: dict[str, Any]) -> None:
    recipe["phases"][0]["scheduler"] = {"class_path": "ExponentialLR", "init_args": {"gamma": 0.5}}
    _, spy = train(recipe, ("epochs", 3), ("optimizer.lr", 1.0))
    assert [record["learning_rate"] for record in spy.records] == [1.0, 0.5, 0.25]


def test_a_schedule_may_move_at_every_update(recipe: dict[str, Any]) -> None:
    """Three updates an epoch; an epoch's record has the rate that the next update will have."""
    recipe["phases"][0]["scheduler"] = {"class_path": "InverseTimeDecay", "init_args": {"decay": 0.5, "min_lr": 0.2}}
    _, spy = train(recipe, ("epochs", 3), ("optimizer.lr", 1.0))
    assert [record["learning_rate"] for record in spy.records] == pytest.approx([1 / 2.5, 1 / 4, 0.2])


def test_the_threshold_is_right_for_negative_losses() -> None:
    assert not improves(-99.95, -100.0, 1e-3)
    assert not improves(-100.05, -100.0, 1e-3)
    assert improves(-100.2, -100.0, 1e-3)
    assert improves(99.8, 100.0, 1e-3)
    assert not improves(math.nan, math.inf, 0.0)
    assert Monitor(mode="max").cost(-3.0) == 3.0


def test_reduce_on_plateau_has_a_floor_and_a_state() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = ReduceOnPlateau(optimizer, factor=0.1, patience=1, min_lr=0.05)
    rates = []
    for cost in (-1.0, -1.0, -1.0, -1.0, -1.0, -2.0, -2.0, -2.0):
        schedule.step(cost)
        rates += schedule.get_last_lr()
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
    again = ReduceOnPlateau(optimizer)
    again.load_state_dict(schedule.state_dict())
    assert (again.best, again.stale, again.patience) == (-2.0, 0, 1)
    with pytest.raises(ValueError, match="factor"):
        ReduceOnPlateau(optimizer, factor=2.0)


def test_nan_stops_the_run_and_says_where(recipe: dict[str, Any], tmp_path: Path) -> None:
    from logprob.experiments.checkpoint import load_checkpoint
    from logprob.experiments.files import read_json

    overrides = {"objective": {"class_path": "Explodes", "init_args": {"at": 8}}, "epochs": 5}
    with pytest.raises(DivergedError, match="the loss is nan in phase 0, epoch 3, batch 1, step 8"):
        run(recipe, overrides, out=tmp_path, imports=["tiny"], checkpoint_every=0)
    (folder,) = tmp_path.iterdir()
    summary = read_json(folder / "result.json")
    assert summary["status"] == "diverged"
    assert "step 8" in summary["reason"]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    for name in ("last", "best"):
        weights = load_checkpoint(folder / "checkpoints", name)["model"]
        assert all(value.isfinite().all() for value in weights.values())
    with pytest.raises(DivergedError, match="diverged"):
        run(recipe, overrides, out=tmp_path, imports=["tiny"])
