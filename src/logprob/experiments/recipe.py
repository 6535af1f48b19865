"""A recipe: data, model, phases of training, metrics. It is read, changed and checked here; nothing runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import logprob
from logprob.data import Dataset
from logprob.experiments.catalogue import Catalogue
from logprob.experiments.errors import RecipeError, nearest
from logprob.experiments.nodes import Node, fill, require, resolve, to_plain
from logprob.experiments.overrides import Override, apply_overrides
from logprob.experiments.schema import Phase, Recipe, StudyRecipe
from logprob.experiments.yaml_text import read_yaml, write_yaml

FILLED_FROM_DATA = ("variables", "categories", "image_shape")


_TOP = [field.name for field in dataclasses.fields(Recipe)]
_STUDY = [field.name for field in dataclasses.fields(StudyRecipe)]
_PHASE = [field.name for field in dataclasses.fields(Phase)]


def recipe_folder() -> Path:
    """Folder of the recipes that come with the package."""
    return Path(logprob.__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    root = recipe_folder()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def find_recipe(name: str) -> Path:
    """The YAML file of a recipe, by the name of a shipped one or by its path.

    Raises:
        RecipeError: if there is neither; it names the nearest.
    """
    if name in recipe_names():
        return recipe_folder() / f"{name}.yaml"
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise RecipeError(f"no recipe file {path}")
    short = {full.rpartition("/")[2]: full for full in recipe_names()}
    hint = f"; did you mean {short[name]!r}?" if name in short else nearest(name, recipe_names())
    raise RecipeError(f"no recipe {name!r}{hint}")


def read_recipe(path: Path) -> dict[str, Any]:
    """Plain values of a recipe file."""
    try:
        values = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not a text file") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping with the keys {', '.join(_TOP)}")
    return values


@dataclass(frozen=True)
class CheckedRecipe:
    """A recipe whose every key, name and type has been checked, and of which nothing is built yet.

    Args:
        name: how results call it.
        node: the constructor call of :class:`Recipe` or :class:`StudyRecipe`.
    """

    name: str
    node: Node

    def __getitem__(self, key: str) -> Any:
        return self.node.arguments[key]

    @property
    def is_study(self) -> bool:
        """Whether it is of several trainings."""
        return self.node.target is StudyRecipe

    def filled(self, dataset: Dataset) -> CheckedRecipe:
        """The recipe with what only the data know: number of variables, categories, shape of an image.

        Raises:
            RecipeError: if a required argument still has no value.
        """
        known = {name: getattr(dataset, name) for name in FILLED_FROM_DATA}
        known["image_shape"] = None if known["image_shape"] is None else list(known["image_shape"])
        parts = {k: v if k == "data" else fill(v, known) for k, v in self.node.arguments.items()}
        node = dataclasses.replace(self.node, arguments=parts)
        try:
            require(node)
        except RecipeError as error:
            raise RecipeError(f"{error}, and not known from the data set {dataset.name!r}") from None
        return CheckedRecipe(self.name, node)

    def plain(self) -> dict[str, Any]:
        """Plain values that give the same recipe again."""
        values = to_plain(self.node)
        order = _STUDY if self.is_study else _TOP
        return {key: values[key] for key in sorted(values, key=order.index)}

    def yaml(self) -> str:
        """The recipe as YAML, with every default written out."""
        return write_yaml(self.plain())

    def digest(self) -> str:
        """Eight hexadecimal digits that change with anything but the seed and the words about it."""
        kept = {k: v for k, v in self.plain().items() if k not in ("seed", "title", "paper")}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def check_recipe(
    name: str,
    values: Mapping[str, Any],
    overrides: Sequence[Override] = (),
    imports: Sequence[str] = (),
    published: bool = False,
) -> CheckedRecipe:
    """Apply overrides and check every key, name and type against the constructors.

    Args:
        name: how results call the recipe.
        values: plain values, as from YAML.
        overrides: pairs of dotted key and plain value.
        imports: modules whose classes the user allows.
        published: whether the changes under the recipe's key ``published`` are made, before ``overrides``.

    Raises:
        RecipeError: one line that names the key and what is accepted.
    """
    values = dict(values)
    protocol = _published(values.pop("published", {}), published, values.get("title"))
    study = "study" in values
    top, schema = (_STUDY, StudyRecipe) if study else (_TOP, Recipe)
    changed = apply_overrides(values, [*protocol, *overrides], top, () if study else _PHASE)
    wants = changed.get("imports") or []
    for module in wants if isinstance(wants, list) else [wants]:
        if module not in imports:
            raise RecipeError(f"imports: the recipe uses classes of {module!r}; allow it with --import {module}")
    if "published" in changed:
        raise RecipeError(
            "published: only the recipe's file says what was published; --published makes all of those changes, "
            "--a.b VALUE beside it changes other values"
        )
    for key in changed:
        if key not in top:
            raise RecipeError(f"{key}: unknown key{nearest(str(key), _accepted(changed))}")
    changed["imports"] = list(imports)
    node = resolve(changed, schema, "", Catalogue(imports))
    require(node, except_for=() if study else FILLED_FROM_DATA)
    if not study and not node.arguments["phases"]:
        raise RecipeError("phases: a recipe needs at least one")
    return CheckedRecipe(name, node)


def _published(changes: Any, wanted: bool, title: Any) -> list[Override]:
    """What a recipe says was done otherwise when its results were published, if that is wanted; the title says so."""
    if not isinstance(changes, dict):
        raise RecipeError(f"published: expected a mapping of dotted keys to values, got {changes!r}")
    if wanted and not changes:
        raise RecipeError("--published: the recipe names nothing that was published otherwise")
    marked = [("title", f"as published: {title}")] if isinstance(title, str) else []
    return [*marked, *changes.items()] if wanted else []


def _accepted(recipe: Mapping[str, Any]) -> list[str]:
    if "study" in recipe:
        return [*_STUDY, "published"]
    return [*_TOP, "published"] + (_PHASE if len(recipe.get("phases") or ()) == 1 else [])
