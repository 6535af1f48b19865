"""``--a.b value`` on the command line: changes to a recipe before it is checked."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from logprob.experiments.errors import RecipeError
from logprob.experiments.yaml_text import read_yaml

Override = tuple[str, Any]


def split_overrides(argv: Sequence[str], options: Collection[str]) -> tuple[list[str], list[Override]]:
    """Part a command line into what the program knows and what belongs to the recipe.

    Args:
        argv: the words after the verb.
        options: the program's own options, such as ``--seed``.

    Returns:
        The other words, and ``(dotted key, value)`` pairs with the values read as YAML.

    Raises:
        RecipeError: if an override has no value.

    Example:
        >>> split_overrides(["npc2/mring", "--model.units", "8", "--seed", "3"], ["--seed"])
        (['npc2/mring', '--seed', '3'], [('model.units', 8)])
    """
    rest: list[str] = []
    overrides: list[Override] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if not name.startswith("--") or name == "--" or name in options:
            rest.append(word)
            continue
        if not equals:
            value = next(words, "--")
            if value.startswith("--"):
                raise RecipeError(f"{name} needs a value, as in {name} 3")
        overrides.append((name[2:], read_yaml(value, name)))
    return rest, overrides


def apply_overrides(
    recipe: dict[str, Any], overrides: Iterable[Override], top: Collection[str], phase: Collection[str]
) -> dict[str, Any]:
    """A copy of ``recipe`` with every override set.

    ``init_args`` need not be written: ``model.units`` reaches into the node that has a ``class_path``. A
    number picks an item of a list. A key of a phase needs no ``phases.0.`` in a recipe of one phase. A class
    name in the place of a node replaces the whole node.

    Args:
        recipe: plain YAML values.
        overrides: pairs of dotted key and plain value.
        top: keys of a recipe.
        phase: keys of a phase.

    Example:
        >>> apply_overrides({"model": {"class_path": "Circuit"}}, [("model.units", 8)], ["model"], [])
        {'model': {'class_path': 'Circuit', 'init_args': {'units': 8}}}
    """
    recipe = copy.deepcopy(recipe)
    for key, value in overrides:
        names = key.replace("-", "_").split(".")
        if names[0] not in top and names[0] in phase:
            if len(recipe.get("phases") or ()) != 1:
                raise RecipeError(f"{key}: the recipe has several phases; write phases.0.{key} for the first")
            names = ["phases", "0", *names]
        _set(recipe, names, value, key)
    return recipe


def _set(place: Any, names: list[str], value: Any, key: str) -> None:
    name, *rest = names
    if isinstance(place, list):
        if not name.isdigit() or int(name) >= len(place):
            raise RecipeError(f"{key}: {name!r} is no item; the list has items 0 to {len(place) - 1}")
        index: Any = int(name)
    elif "class_path" in place and name not in ("class_path", "init_args"):
        if place.get("init_args") is None:
            place["init_args"] = {}
        return _set(place["init_args"], names, value, key)
    else:
        index = name
    if not rest:
        place[index] = value
        return None
    inner = place[index] if isinstance(place, list) else place.get(index)
    if isinstance(inner, str):  # a class named without init_args
        inner = {"class_path": inner}
    elif inner is None:
        inner = {}
    elif not isinstance(inner, (dict, list)):
        raise RecipeError(f"{key}: {name!r} is the value {inner!r} and has nothing inside")
    place[index] = inner
    return _set(inner, rest, value, key)
