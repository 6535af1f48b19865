"""A recipe: data, model, phases of training, metrics. It is read, changed and checked here; nothing runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import logprob
from logprob.data import Dataset, DataSource
from logprob.distributions import DistributionModule
from logprob.experiments.catalogue import Catalogue
from logprob.experiments.errors import RecipeError, nearest
from logprob.experiments.nodes import Node, fill, require, resolve, to_plain
from logprob.experiments.overrides import Override, apply_overrides
from logprob.experiments.stopping import Monitor, Stopping
from logprob.experiments.yaml_text import read_yaml, write_yaml
from logprob.metrics import LogLikelihood, Metric
from logprob.objectives import Objective

FILLED_FROM_DATA = ("variables", "categories", "image_shape")


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Args:
        objective: what is minimised.
        optimizer: class of torch.optim and its arguments.
        epochs: passes over the training rows; give this or ``steps``.
        steps: updates; give this or ``epochs``.
        batch_size: rows per update.
        parameters: regular expression; parameters whose name it does not find stay as they are.
        scheduler: learning-rate schedule, moved once an epoch.
        stopping: when to stop early; never if unset.
        clip_norm: largest norm of the gradient; unlimited if unset.
    """

    objective: Objective
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 256
    parameters: str = ".*"
    scheduler: Callable[[Optimizer], LRScheduler] | None = None
    stopping: Stopping | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps, and set the other to null")
        for name in ("epochs", "steps", "batch_size", "clip_norm"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a run.

    Args:
        title: one line.
        data: where the rows come from.
        model: the model.
        phases: stretches of training, in order.
        paper: what the recipe reproduces.
        metrics: what is evaluated, on the validation rows every epoch and on the test rows at the end.
        monitor: which of these numbers chooses the best checkpoint.
        seed: of the initial parameters, the order of the rows and everything else that is random.
        dtype: of parameters and continuous rows.
        imports: modules beyond logprob whose classes are used; the user must name each with ``--import``.
    """

    title: str
    data: DataSource
    model: DistributionModule
    phases: list[Phase]
    paper: str = ""
    metrics: tuple[Metric, ...] = (LogLikelihood(),)
    monitor: Monitor = Monitor()  # noqa: RUF009  (frozen)
    seed: int = 0
    dtype: Literal["float32", "float64"] = "float32"
    imports: tuple[str, ...] = ()


_TOP = [field.name for field in dataclasses.fields(Recipe)]
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
        node: the constructor call of :class:`Recipe`.
    """

    name: str
    node: Node

    def __getitem__(self, key: str) -> Any:
        return self.node.arguments[key]

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
        return {key: values[key] for key in sorted(values, key=_TOP.index)}

    def yaml(self) -> str:
        """The recipe as YAML, with every default written out."""
        return write_yaml(self.plain())

    def digest(self) -> str:
        """Eight hexadecimal digits that change with anything but the seed and the words about it."""
        kept = {k: v for k, v in self.plain().items() if k not in ("seed", "title", "paper")}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def check_recipe(
    name: str, values: Mapping[str, Any], overrides: Sequence[Override] = (), imports: Sequence[str] = ()
) -> CheckedRecipe:
    """Apply overrides and check every key, name and type against the constructors.

    Args:
        name: how results call the recipe.
        values: plain values, as from YAML.
        overrides: pairs of dotted key and plain value.
        imports: modules whose classes the user allows.

    Raises:
        RecipeError: one line that names the key and what is accepted.
    """
    changed = apply_overrides(dict(values), overrides, _TOP, _PHASE)
    wants = changed.get("imports") or []
    for module in wants if isinstance(wants, list) else [wants]:
        if module not in imports:
            raise RecipeError(f"imports: the recipe uses classes of {module!r}; allow it with --import {module}")
    for key in changed:
        if key not in _TOP:
            raise RecipeError(f"{key}: unknown key{nearest(str(key), _accepted(changed))}")
    changed["imports"] = list(imports)
    node = resolve(changed, Recipe, "", Catalogue(imports))
    require(node, except_for=FILLED_FROM_DATA)
    if not node.arguments["phases"]:
        raise RecipeError("phases: a recipe needs at least one")
    return CheckedRecipe(name, node)


def _accepted(recipe: Mapping[str, Any]) -> list[str]:
    return _TOP + (_PHASE if len(recipe.get("phases") or ()) == 1 else [])
