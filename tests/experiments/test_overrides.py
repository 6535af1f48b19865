"""YAML values, and the words of a command line that change a recipe."""

from __future__ import annotations

import pytest

from logprob.experiments import RecipeError
from logprob.experiments.overrides import apply_overrides, split_overrides
from logprob.experiments.yaml_text import read_yaml, write_yaml


def test_numbers_are_numbers() -> None:
    values = read_yaml("[1e-3, 1E5, -2e+3, 1.5e-7, 3, 1_000, 0.1, e3, v1e3]", "test")
    assert values == [1e-3, 1e5, -2e3, 1.5e-7, 3, 1000, 0.1, "e3", "v1e3"]
    assert all(isinstance(value, float) for value in values[:4])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{a: 1, a: 2}", "key 'a' is given twice"),
        ("a: [", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("!!python/name:os.system ''", "not valid YAML"),
    ],
)
def test_yaml_is_plain_and_says_things_once(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        read_yaml(text, "file.yaml")


def test_yaml_round_trip() -> None:
    values = {"b": [1, 2.5, None, True], "a": {"x": "1e-3", "y": [{"z": 1e-8}]}}
    assert read_yaml(write_yaml(values), "test") == values


def test_a_command_line_is_parted() -> None:
    words = ["name", "--a.b=3", "--c", "[1, 2]", "--seed", "4", "--out=x", "--d", "-1e-3", "--e=--odd"]
    rest, overrides = split_overrides(words, {"--seed", "--out"})
    assert rest == ["name", "--seed", "4", "--out=x"]
    assert overrides == [("a.b", 3), ("c", [1, 2]), ("d", -1e-3), ("e", "--odd")]


@pytest.mark.parametrize("words", [["--a.b"], ["--a.b", "--c", "1"]])
def test_an_override_needs_a_value(words: list[str]) -> None:
    with pytest.raises(RecipeError, match=r"--a\.b needs a value"):
        split_overrides(words, set())


def test_overrides_leave_the_recipe_alone() -> None:
    recipe = {"model": "Circuit", "phases": [{"epochs": 3}]}
    changed = apply_overrides(recipe, [("model.units", 8), ("epochs", 4)], ["model", "phases"], ["epochs"])
    assert changed == {
        "model": {"class_path": "Circuit", "init_args": {"units": 8}},
        "phases": [{"epochs": 4}],
    }
    assert recipe == {"model": "Circuit", "phases": [{"epochs": 3}]}


def test_a_class_may_be_replaced_and_then_changed() -> None:
    recipe = {"model": {"class_path": "A", "init_args": {"x": 1}}}
    changed = apply_overrides(recipe, [("model", "B"), ("model.y", 2), ("model.class_path", "C")], ["model"], [])
    assert changed == {"model": {"class_path": "C", "init_args": {"y": 2}}}
