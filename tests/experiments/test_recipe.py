"""Recipes: what is accepted, what is refused and in which words, what is filled in, what may be named."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from logprob.experiments import RecipeError
from logprob.experiments.prepare import load_data, prepare
from logprob.experiments.recipe import CheckedRecipe, check_recipe, find_recipe, read_recipe, recipe_names

TINY = ("tiny",)


def check(values: dict[str, Any], *overrides: tuple[str, Any]) -> CheckedRecipe:
    return check_recipe("tiny", values, overrides, TINY)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model.noize", 1, ["model.noize: unknown key", "did you mean 'noise'", "noise, variables"]),
        ("modell.noise", 1, ["modell: unknown key", "did you mean 'model'"]),
        ("epochz", 1, ["epochz: unknown key", "did you mean 'epochs'"]),
        ("phases.0.epochz", 1, ["phases.0.epochz: unknown key", "did you mean 'epochs'"]),
        ("optimizer.lrr", 1, ["phases.0.optimizer.lrr: unknown key", "did you mean 'lr'"]),
        ("model.noise", "loud", ["model.noise: expected float, got 'loud'"]),
        ("optimizer.lr", "fast", ["phases.0.optimizer.lr: expected float or Tensor, got 'fast'"]),
        ("epochs", 2.5, ["phases.0.epochs: expected int or null, got 2.5"]),
        ("dtype", "float16", ["dtype: expected 'float32' or 'float64', got 'float16'"]),
        ("model", "TinyGausian", ["model: 'TinyGausian' is an unknown class", "did you mean 'TinyGaussian'"]),
        ("model", "Adam", ["model: 'Adam' is not DistributionModule"]),
        ("optimizer", "Addam", ["phases.0.optimizer: 'Addam'", "expected Optimizer", "did you mean 'Adam'"]),
        ("metrics", ["LogLikelihod"], ["metrics.0: 'LogLikelihod'", "did you mean 'LogLikelihood'"]),
        ("model", {"noise": 1}, ["model: class_path is missing"]),
        ("model.class_path", 3, ["model: class_path must be a name"]),
        ("phases", [], ["phases: a recipe needs at least one"]),
        ("phases.1.epochs", 3, ["phases.1.epochs", "items 0 to 0"]),
        ("seed.x", 3, ["seed.x", "nothing inside"]),
        ("title", None, ["title: expected str, got None"]),
    ],
)
def test_a_mistake_is_named(recipe: dict[str, Any], key: str, value: Any, words: list[str]) -> None:
    recipe["seed"] = 1
    with pytest.raises(RecipeError) as caught:
        check(recipe, (key, value))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "posix.system",
        "tiny.Path",
        "tiny.not_a_class",
        "not_a_class",
        "logprob.experiments.cli.sys.exit",
        "logprob.experiments.catalogue.importlib.import_module",
        "torch.load",
        "torch.optim.lr_scheduler.warnings.warn",
        "torch.hub.load",
    ],
)
@pytest.mark.parametrize("place", ["model", "data", "phases.0.optimizer", "phases.0.objective", "metrics.0"])
def test_a_recipe_runs_no_code_of_its_own(recipe: dict[str, Any], name: str, place: str) -> None:
    recipe["metrics"] = ["LogLikelihood"]
    for value in (name, {"class_path": name, "init_args": {}}):
        with pytest.raises(RecipeError):
            check(copy.deepcopy(recipe), (place, value))


@pytest.mark.parametrize("place", ["model.noise", "title", "optimizer.betas", "phases.0.optimizer.lr", "seed"])
def test_no_class_hides_in_a_plain_value(recipe: dict[str, Any], place: str) -> None:
    recipe["phases"][0]["scheduler"] = {
        "class_path": "LambdaLR",
        "init_args": {"lr_lambda": "tiny.not_a_class"},
    }
    for value in ({"class_path": "os.system"}, [{"class_path": "os.system"}], "os.system"):
        if place == "title" and isinstance(value, str):
            continue
        with pytest.raises(RecipeError):
            check(recipe, (place, value))


def test_a_lambda_of_a_schedule_cannot_be_any_function(recipe: dict[str, Any]) -> None:
    recipe["phases"][0]["scheduler"] = {"class_path": "LambdaLR", "init_args": {"lr_lambda": "os.system"}}
    with pytest.raises(RecipeError, match="scheduler"):
        prepare(check(recipe))


def test_only_the_user_names_modules(recipe: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="--import tiny"):
        check_recipe("tiny", recipe)
    recipe["imports"] = ["subprocess"]
    with pytest.raises(RecipeError, match="--import subprocess"):
        check_recipe("tiny", recipe)
    with pytest.raises(RecipeError, match="No module named"):
        check_recipe("tiny", recipe, imports=["subprocess", "no_such_module"])


def test_values_known_from_the_data_are_filled(recipe: dict[str, Any]) -> None:
    recipe["data"] = {"class_path": "TinyRows", "init_args": {"variables": 5}}
    checked = check(recipe)
    assert "variables" not in checked.plain()["model"]["init_args"]
    filled = checked.filled(load_data(checked, None))
    assert filled.plain()["model"]["init_args"]["variables"] == 5


def test_a_value_that_the_data_do_not_know_is_asked_for() -> None:
    values = {"data": "TinyRows", "imports": ["tiny"], "title": "x"}
    model = {"class_path": "Circuit", "init_args": {"graph": "linear_tree", "inputs": "Categorical"}}
    phase = {"objective": "NegativeLogLikelihood", "optimizer": "SGD", "epochs": 1}
    with pytest.raises(RecipeError, match=r"model.inputs.categories: required by Categorical.*'tiny'"):
        prepare(check(values | {"model": model, "phases": [phase]}))


def test_the_written_recipe_is_the_recipe(recipe: dict[str, Any]) -> None:
    from logprob.experiments.yaml_text import read_yaml

    recipe["phases"][0]["scheduler"] = {"class_path": "ReduceOnPlateau", "init_args": {"patience": 3}}
    recipe["phases"][0]["stopping"] = {"patience": 7}
    first = prepare(check(recipe, ("seed", 5))).recipe
    written = read_yaml(first.yaml(), "written")
    again = prepare(check(written)).recipe
    assert again.yaml() == first.yaml()
    assert again.digest() == first.digest()
    assert written["phases"][0]["optimizer"]["init_args"]["eps"] == 1e-8  # defaults are written out
    assert written["model"]["class_path"] == "tiny.TinyGaussian"


def test_the_digest_is_of_what_matters(recipe: dict[str, Any]) -> None:
    digest = check(recipe).digest()
    assert check(recipe, ("seed", 9), ("title", "Other")).digest() == digest
    assert check(recipe, ("optimizer.lr", 0.1)).digest() != digest


def test_overrides_reach_everywhere(recipe: dict[str, Any]) -> None:
    pairs = [("model.noise", 0.5), ("optimizer", "SGD"), ("optimizer.lr", 1), ("scheduler", "StepLR")]
    plain = check(recipe, *pairs, ("phases.0.scheduler.step_size", 4), ("clip-norm", 2)).plain()
    assert plain["model"]["init_args"]["noise"] == 0.5
    phase = plain["phases"][0]
    assert phase["optimizer"]["class_path"] == "torch.optim.SGD"
    assert phase["optimizer"]["init_args"]["lr"] == 1.0
    assert phase["scheduler"]["init_args"]["step_size"] == 4
    assert phase["clip_norm"] == 2.0


def test_phase_keys_need_a_number_where_there_are_several(recipe: dict[str, Any]) -> None:
    recipe["phases"] *= 2
    with pytest.raises(RecipeError, match=r"phases\.0\.epochs"):
        check(recipe, ("epochs", 3))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("optimizer.lr", -1, "phases.0.optimizer: Invalid learning rate"),
        ("model.noise", -1, "model: TinyGaussian: noise must be at least 0"),
        ("steps", 3, "give either epochs or steps"),
        ("batch_size", 0, "batch_size must be positive"),
        ("monitor.metric", "accuracy", "no metric gives 'accuracy' .accepted: log_likelihood"),
        ("parameters", "weight", "finds none of the parameters loc, log_scale"),
        ("parameters", "(", "no regular expression"),
        ("data.nan", True, "train rows have a NaN in row 3, column 1 .1 in 1 of 64 rows"),
    ],
)
def test_what_a_constructor_refuses_is_found_before_the_start(
    recipe: dict[str, Any], key: str, value: Any, words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        prepare(check(recipe, (key, value)))


def test_an_unknown_recipe_gets_the_nearest_names() -> None:
    with pytest.raises(RecipeError, match="did you mean 'npc2/mring'"):
        find_recipe("npc2/mrings")
    with pytest.raises(RecipeError, match="did you mean 'npc2/digits'"):
        find_recipe("digits")
    with pytest.raises(RecipeError, match="no recipe file"):
        find_recipe("nowhere.yaml")


def test_what_was_published_otherwise(recipe: dict[str, Any]) -> None:
    recipe["published"] = {"phases.0.optimizer.lr": 0.5, "model.noise": 0.25}

    def plain(published: bool, *overrides: tuple[str, Any]) -> dict[str, Any]:
        return check_recipe("tiny", recipe, overrides, TINY, published).plain()

    assert plain(False)["model"]["init_args"]["noise"] == 0.1
    assert plain(True)["model"]["init_args"]["noise"] == 0.25
    assert plain(True)["phases"][0]["optimizer"]["init_args"]["lr"] == 0.5
    assert plain(True, ("model.noise", 2))["model"]["init_args"]["noise"] == 2.0
    assert "published" not in plain(True)
    assert (plain(True)["title"], plain(False)["title"]) == ("as published: Tiny", "Tiny")
    with pytest.raises(RecipeError, match=r"published: only the recipe's file.*--a\.b VALUE"):
        plain(False, ("published.model.noise", 3))
    recipe["published"]["model.noize"] = 1
    with pytest.raises(RecipeError, match=r"model\.noize: unknown key"):
        plain(True)
    for nothing in ({}, [1]):
        recipe["published"] = nothing
        with pytest.raises(RecipeError, match="published"):
            plain(True)


@pytest.mark.parametrize("name", recipe_names())
def test_published_changes_are_of_keys_that_exist(name: str) -> None:
    values = read_recipe(find_recipe(name))
    check_recipe(name, values, published=bool(values.get("published")))
