"""Options of a phase and of a recipe: warm-up, augmentation, order, evaluations, parts of a batch, fused updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from experiments.helpers import TINY, assert_identical, cut, train

from logprob.batch import Batch
from logprob.experiments import RecipeError, resume, run
from logprob.experiments.fit import fetch
from logprob.experiments.prepare import prepare
from logprob.experiments.recipe import check_recipe


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logprob.experiments.runner.draw", lambda *arguments: None)


def test_the_learning_rate_warms_up(recipe: dict[str, Any]) -> None:
    recipe["phases"][0]["optimizer"] = {"class_path": "SGD", "init_args": {"lr": 0.4}}
    recipe["phases"][0]["scheduler"] = {"class_path": "ExponentialLR", "init_args": {"gamma": 0.5}}
    _, spy = train(recipe, ("warmup_epochs", 2), ("epochs", 4))  # three updates an epoch
    rates = [record["learning_rate"] for record in spy.records]
    assert rates == pytest.approx([0.4 * 3 / 6, 0.2, 0.1, 0.05])


def test_the_first_update_is_small(recipe: dict[str, Any]) -> None:
    recipe["phases"][0]["optimizer"] = {"class_path": "SGD", "init_args": {"lr": 1.0}}

    def moved(*overrides: tuple[str, Any]) -> torch.Tensor:
        fit = prepare(check_recipe("tiny", recipe, (("epochs", None), ("steps", 1), *overrides), TINY)).fit()
        start = fit.model.get_parameter("loc").detach().clone()
        fit.run()
        return fit.model.get_parameter("loc").detach() - start

    assert torch.allclose(10 * moved(("warmup_epochs", 10 / 3)), moved(), atol=1e-6)


def test_an_augmentation_changes_training_rows_only(recipe: dict[str, Any]) -> None:
    wide = {"class_path": "Jitter", "init_args": {"size": 50.0}}
    plain, noisy = train(recipe)[1].records, train(recipe, ("augmentation", wide))[1].records
    assert noisy[0]["train/loss"] > 100 * plain[0]["train/loss"]
    with pytest.raises(RecipeError, match=r"phases.0.augmentation: 'Adam' is not Augmentation"):
        train(recipe, ("augmentation", "Adam"))
    with pytest.raises(RecipeError, match=r"augmentation: 'RandomCrob'.*RandomCrop"):
        train(recipe, ("augmentation", "RandomCrob"))


def test_arguments_known_from_the_data_are_filled_in_phases_and_lists(recipe: dict[str, Any]) -> None:
    recipe["data"] = {"class_path": "TinyCodes", "init_args": {"image": True}}
    recipe["model"] = {"class_path": "Stack", "init_args": {"parts": ["TinyPixels", {"class_path": "TinyPixels"}]}}
    recipe["phases"][0] |= {"augmentation": "Jitter", "objective": "PixelObjective"}
    recipe["imports"] = [*TINY, "tiny_flows"]
    checked = check_recipe("tiny", recipe, (), recipe["imports"])
    from logprob.experiments.prepare import load_data

    plain = checked.filled(load_data(checked, None)).plain()
    for part in plain["model"]["init_args"]["parts"]:
        assert part["init_args"]["variables"] == 16
        assert part["init_args"]["categories"] == 2
    assert plain["phases"][0]["augmentation"]["init_args"]["image_shape"] == [1, 4, 4]


def test_rows_in_order(recipe: dict[str, Any]) -> None:
    fit = prepare(check_recipe("tiny", recipe, [("shuffle", False)], TINY)).fit()
    rows = torch.cat([batch.x for batch in fit._batches()])
    assert torch.equal(rows, fit.train.x)
    fit = prepare(check_recipe("tiny", recipe, (), TINY)).fit()
    rows = torch.cat([batch.x for batch in fit._batches()])
    assert not torch.equal(rows, fit.train.x)


def test_evaluation_now_and_then(recipe: dict[str, Any]) -> None:
    fit, spy = train(recipe, ("epochs", 7), ("evaluate_every", 3), ("optimizer.lr", 1e-12), ("model.noise", 0))
    there = ["valid/log_likelihood" in record for record in spy.records]
    assert there == [False, False, True, False, False, True, True]
    assert fit.best.epoch == 3
    fit, spy = train(recipe, ("epochs", None), ("steps", 4), ("evaluate_every", 9))
    assert ["valid/log_likelihood" in record for record in spy.records] == [False, True]


def test_stopping_and_plateaus_wait_for_an_evaluation(recipe: dict[str, Any]) -> None:
    recipe["phases"][0]["scheduler"] = {"class_path": "ReduceOnPlateau", "init_args": {"patience": 0}}
    still = [("epochs", 50), ("optimizer.lr", 1e-6), ("model.noise", 0), ("evaluate_every", 3)]
    fit, spy = train(recipe, *still, ("stopping", {"patience": 4}))
    assert (len(spy.records), fit.progress.endings) == (9, ["stopping"])  # 6 epochs after the first evaluation
    assert [record["learning_rate"] for record in spy.records] == [1e-6] * 6 + [5e-7] * 3


def test_rows_that_are_evaluated(recipe: dict[str, Any], tmp_path: Path) -> None:
    fit, spy = train(recipe, ("max_eval_rows", 10), ("evaluate_train", True))
    assert (len(fit.valid.x), len(fit.train_checked.x if fit.train_checked else ())) == (10, 10)
    assert "train_eval/log_likelihood" in spy.records[0]
    done = run(recipe, {"max_eval_rows": 10, "evaluate_train": True}, out=tmp_path, imports=TINY)
    assert list(done.metrics) == ["train", "valid", "test"]
    with pytest.raises(RecipeError, match="max_eval_rows: must be positive"):
        train(recipe, ("max_eval_rows", 0))


@pytest.mark.parametrize("parts", [2, 5, 100])
def test_parts_of_a_batch_make_the_same_update(recipe: dict[str, Any], parts: int) -> None:
    one, many = (train(recipe, ("model.noise", 0), ("accumulate", n)) for n in (1, parts))
    assert many[1].losses == pytest.approx(one[1].losses, rel=1e-5)
    assert torch.allclose(many[0].model.get_parameter("loc"), one[0].model.get_parameter("loc"), atol=1e-5)


@pytest.mark.parametrize(("name", "value"), [("warmup_epochs", -1), ("evaluate_every", 0), ("accumulate", 0)])
def test_numbers_out_of_range(recipe: dict[str, Any], name: str, value: float) -> None:
    with pytest.raises(RecipeError, match=name):
        train(recipe, (name, value))


@pytest.mark.parametrize(("epochs", "every"), [(1, 1e9), (5, 0), (8, 1e9)])
def test_all_of_it_is_resumed(recipe: dict[str, Any], tmp_path: Path, epochs: int, every: float) -> None:
    """Fused Adam, warm-up, augmentation, sparse evaluation, clipping, a schedule: cut off and taken to the end."""
    recipe["phases"][0] |= {
        "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.05, "fused": True}},
        "scheduler": {"class_path": "ReduceOnPlateau", "init_args": {"patience": 1, "threshold": 0.05}},
        "epochs": 10,
        "warmup_epochs": 2.5,
        "augmentation": "Jitter",
        "evaluate_every": 3,
        "accumulate": 2,
        "clip_norm": 0.5,
        "stopping": {"patience": 7},
    }
    whole = run(recipe, out=tmp_path / "whole", imports=TINY)
    folder = cut(recipe, tmp_path / "cut", epochs, every)
    resume(folder, imports=TINY)
    assert_identical(whole.folder, folder)
    assert "fused: true" in (folder / "recipe.yaml").read_text()


def test_evaluations_draw_the_same_numbers_and_leave_training_alone(recipe: dict[str, Any]) -> None:
    from logprob.experiments.evaluate import evaluate

    class Draws:
        def __call__(self, model: Any, batch: Batch) -> dict[str, float]:
            return {"number": torch.rand(()).item()}

    fit, _ = train(recipe)
    before = torch.get_rng_state()
    first, second = (evaluate(fit.model, fit.valid, [Draws()]) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)


def test_times(recipe: dict[str, Any], tmp_path: Path) -> None:
    timing = run(recipe, out=tmp_path, imports=TINY).summary["timing"]
    assert timing["batch_seconds_mean"] > 0 <= timing["batch_seconds_std"]
    assert "sample_seconds" not in timing


def test_fetch_keeps_the_order() -> None:
    assert fetch([torch.tensor(1.5), 2.0, torch.tensor(3)]) == [1.5, 2.0, 3.0]
    assert fetch([1, 2.0]) == [1.0, 2.0]
