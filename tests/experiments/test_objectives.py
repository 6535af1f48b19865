"""Objectives with state, a device, work at the end of an epoch; gradients that are not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from experiments.helpers import TINY, assert_identical, cut, train

from logprob.experiments import DivergedError, RecipeError, resume, run
from logprob.experiments.checkpoint import load_checkpoint
from logprob.experiments.prepare import prepare
from logprob.experiments.recipe import check_recipe


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logprob.experiments.runner.draw", lambda *arguments: None)


@pytest.mark.parametrize(("epochs", "every"), [(1, 1e9), (4, 0), (6, 0), (7, 1e9), (9, 0)])
def test_its_state_comes_back(recipe: dict[str, Any], tmp_path: Path, epochs: int, every: float) -> None:
    """Of the phase that was cut off; the one after starts with its own."""
    phase = recipe["phases"][0] | {"objective": "Remembers", "epochs": 6}
    recipe["phases"] = [phase, phase | {"optimizer": {"class_path": "SGD", "init_args": {"lr": 0.01}}}]
    whole = run(recipe, out=tmp_path / "whole", imports=TINY)
    folder = cut(recipe, tmp_path / "cut", epochs, every)
    resume(folder, imports=TINY)
    assert_identical(whole.folder, folder)


def test_the_state_is_that_of_the_present_phase(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["phases"] = [recipe["phases"][0] | {"objective": "Remembers", "epochs": 2}, recipe["phases"][0]]
    folder = cut(recipe, tmp_path, 2, 0)
    state = load_checkpoint(folder / "checkpoints", "last")["objective"]
    assert state["_extra_state"]["calls"] == 3  # the checkpoint before the epoch at which the run was cut off
    assert state["_extra_state"]["epochs"] == (1,)
    assert state["average"].shape == (1,)


def test_what_it_learns_is_given_to_the_optimizer(recipe: dict[str, Any]) -> None:
    fit, _ = train(recipe, ("objective", "Remembers"), ("epochs", 1), ("optimizer.lr", 0.1))
    untrained, _ = train(recipe, ("objective", "Remembers"), ("epochs", 1), ("optimizer.lr", 1e-9))
    scales = [f.phases[0].objective.scale.item() for f in (fit, untrained)]
    assert abs(scales[0] - scales[1]) > 0.05


def test_an_epoch_is_finished_before_it_is_evaluated(recipe: dict[str, Any]) -> None:
    fit, spy = train(recipe, ("objective", "Remembers"), ("epochs", 3), ("optimizer.lr", 1e-9), ("model.noise", 0))
    objective: Any = fit.phases[0].objective
    assert objective.epochs == 3
    shift = fit.train.x.mean(0) + 0.01 * (1 + 2 + 3)
    assert torch.allclose(fit.model.get_buffer("shift"), shift)
    values = [record["valid/log_likelihood"] for record in spy.records]
    assert len(set(values)) == 3  # only the end of an epoch changes the model here
    assert "train/weight" in spy.records[0]


def test_what_a_checkpoint_cannot_hold_is_found_before_the_start(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny

    monkeypatch.setattr(tiny.Remembers, "get_extra_state", lambda self: object())
    with pytest.raises(RecipeError, match=r"phases\.0\.objective: .*cannot hold a object"):
        prepare(check_recipe("tiny", recipe, [("objective", "Remembers")], TINY))


def test_random_state_of_an_objective_follows_the_seed(recipe: dict[str, Any]) -> None:
    def scale(seed: int) -> float:
        overrides = [("objective", "Remembers"), ("seed", seed)]
        objective: Any = prepare(check_recipe("tiny", recipe, overrides, TINY)).phases[0].objective
        return float(objective.scale.detach())

    assert scale(1) == scale(1) != scale(2)


def test_a_broken_gradient_does_not_reach_the_weights(recipe: dict[str, Any], tmp_path: Path) -> None:
    overrides = {"objective": {"class_path": "BreaksGradient", "init_args": {"at": 5}}, "clip_norm": 1.0}
    with pytest.raises(DivergedError, match="the norm of the gradient is nan in phase 0, epoch 2, batch 1, step 5"):
        run(recipe, overrides, out=tmp_path, imports=TINY, checkpoint_every=0)
    (folder,) = tmp_path.iterdir()
    for name in ("last", "best"):
        weights = load_checkpoint(folder / "checkpoints", name)["model"]
        assert all(value.isfinite().all() for value in weights.values())


def test_it_prepares_the_rows_of_its_phase(recipe: dict[str, Any], tmp_path: Path) -> None:
    """Once for each phase, and again when the phase is taken up; what it drew comes back with its state."""
    recipe["phases"] = [recipe["phases"][0] | {"objective": name, "epochs": 3} for name in ("Centres", "Slow")]
    fit, _ = train(recipe)
    assert fit.phases[0].objective.prepared == [len(fit.train.x)]
    assert fit.rows is fit.train
    whole = run(recipe, out=tmp_path / "whole", imports=TINY)
    folder = cut(recipe, tmp_path / "cut", 2, 0)
    resume(folder, imports=TINY)
    assert_identical(whole.folder, folder)


def test_what_is_prepared_is_not_augmented(recipe: dict[str, Any]) -> None:
    """It would no longer fit the rows."""
    overrides = [("objective", "Centres"), ("augmentation", "Jitter")]
    with pytest.raises(RecipeError, match=r"phases.0.augmentation: Centres prepares all rows before the phase"):
        prepare(check_recipe("tiny", recipe, overrides, TINY))
