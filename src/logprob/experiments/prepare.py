"""From a checked recipe to all that training needs; what can be wrong is found here, before it starts."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.data import CorruptDataError, Dataset, MissingDataError
from logprob.distributions import DistributionModule
from logprob.distributions.draws import fixed_draws
from logprob.experiments.errors import RecipeError
from logprob.experiments.evaluate import evaluate
from logprob.experiments.fit import Fit, Watcher
from logprob.experiments.nodes import build
from logprob.experiments.objectives import (
    finish_epoch,
    objective_parameters,
    objective_state,
    place_objective,
    prepare_rows,
)
from logprob.experiments.optimization import select_parameters, step_schedule
from logprob.experiments.packing import pack
from logprob.experiments.recipe import CheckedRecipe
from logprob.experiments.schema import Figures, Phase
from logprob.experiments.seeding import default_dtype, seed_everything
from logprob.experiments.smoke import stand_in
from logprob.experiments.stopping import Monitor
from logprob.metrics import Metric

PREPARED = 16  # rows to rehearse an objective on that prepares them; no more than a smoke run has


@dataclass(frozen=True)
class Prepared:
    """A run that can start.

    Args:
        recipe: with the values that came from the data.
        dataset: as loaded, on the CPU.
        model: seeded, initialised, on its device.
        phases: of training, objectives on the device.
        metrics: to evaluate.
        monitor: what chooses the best.
        shuffler: generator of the order of the rows.
        device: of model and rows.
        dtype: of parameters and continuous rows.
        figures: to draw, or None.
    """

    recipe: CheckedRecipe
    dataset: Dataset
    model: DistributionModule
    phases: Sequence[Phase]
    metrics: Sequence[Metric]
    monitor: Monitor
    shuffler: torch.Generator
    device: torch.device
    dtype: torch.dtype
    figures: Figures | None

    def rows(self, split: Batch) -> Batch:
        """A split on the device and in the type of the model; integer codes stay integers."""
        x, context, target = (None if p is None else _place(p, self.device, self.dtype) for p in split)
        assert x is not None
        return Batch(x, context, target)

    def fit(self, watchers: Sequence[Watcher] = ()) -> Fit:
        """The training, not started."""
        train, valid = self.rows(self.dataset.train), self.rows(self.dataset.valid)
        checked = train.rows(self.few) if self.recipe["evaluate_train"] else None
        return Fit(
            self.model,
            train,
            valid.rows(self.few),
            self.phases,
            self.metrics,
            self.monitor,
            self.shuffler,
            watchers,
            checked,
        )

    @property
    def few(self) -> slice:
        """The rows of a split that are evaluated during training."""
        return slice(0, self.recipe["max_eval_rows"])

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Metrics of the present weights on validation and test rows, and training rows if the recipe says so."""
        data = self.dataset
        splits = {"train": data.train.rows(self.few)} if self.recipe["evaluate_train"] else {}
        splits |= {"valid": data.valid, "test": data.test}
        return {name: evaluate(self.model, self.rows(rows), self.metrics) for name, rows in splits.items()}


def prepare(
    recipe: CheckedRecipe, data_root: str | Path | None = None, device: str = "cpu", smoke: bool = False
) -> Prepared:
    """Load the data, fill the recipe from them, build everything and try it on a few rows.

    Args:
        recipe: the recipe.
        data_root: folder of data files.
        device: as for :func:`~logprob.experiments.run`.
        smoke: whether a few rows that stand in for the data are to be used, and no file is read.

    Raises:
        RecipeError: if a constructor refuses its values, the model the data, or there is no such device.
        MissingDataError: if a file is not found.
        CorruptDataError: if a file is not what it should be.
    """
    place = find_device(device)
    if recipe["max_eval_rows"] is not None and recipe["max_eval_rows"] < 1:
        raise RecipeError(f"max_eval_rows: must be positive, got {recipe['max_eval_rows']}")
    dataset = load_data(recipe, data_root, smoke)
    recipe = recipe.filled(dataset)
    dtype = getattr(torch, recipe["dtype"])
    with default_dtype(dtype):
        seed_everything(recipe["seed"])  # for an objective that starts from random numbers; the model starts anew
        phases = [_placed_phase(phase, place) for phase in build(recipe["phases"])]
        refuse_missing(dataset, phases)
        shuffler = seed_everything(recipe["seed"])
        model = build(recipe["model"]).to(dtype)
        _initialize(model, dataset, dtype)
    rest = {name: build(recipe[name]) for name in ("metrics", "monitor", "figures")}
    prepared = Prepared(recipe, dataset, model.to(place), phases, shuffler=shuffler, device=place, dtype=dtype, **rest)
    _rehearse(prepared)
    return prepared


def _placed_phase(phase: Phase, device: torch.device) -> Phase:
    return dataclasses.replace(phase, objective=place_objective(phase.objective, device))


def load_data(recipe: CheckedRecipe, data_root: str | Path | None, smoke: bool = False) -> Dataset:
    """Load the recipe's data set, or what stands in for it."""
    source = build(recipe["data"])
    try:
        return stand_in(source, data_root) if smoke else source.load(data_root)
    except (MissingDataError, CorruptDataError, RecipeError):
        raise
    except ValueError as error:
        raise RecipeError(f"data: {error}") from error


def find_device(name: str) -> torch.device:
    """The device that Lightning Fabric picks for ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"auto"``.

    Raises:
        RecipeError: if there is none of that kind.
    """
    kind, _, index = name.partition(":")
    if name == "cpu":  # nothing to look for, and Fabric takes a second to import
        return torch.device("cpu")
    from lightning_fabric import Fabric

    if kind not in ("cuda", "mps", "auto"):
        raise RecipeError(f"--device {name}: expected cpu, cuda, cuda:N, mps or auto")
    try:
        return Fabric(accelerator=kind, devices=[int(index)] if index else 1).device
    except (RuntimeError, ValueError) as error:
        raise RecipeError(f"--device {name}: {' '.join(str(error).split())}") from None


def refuse_missing(dataset: Dataset, phases: Sequence[Phase]) -> None:
    """Check that no training or validation value is NaN where an objective cannot take one.

    Raises:
        RecipeError: naming the first such value by split, row and column.
    """
    if not any(getattr(phase.objective, "missing", None) == "error" for phase in phases):
        return
    for name, split in (("train", dataset.train), ("valid", dataset.valid)):
        if not split.x.is_floating_point():
            continue
        places = split.x.reshape(len(split.x), -1).isnan().nonzero()
        if len(places):
            row, column = places[0].tolist()
            rows = len(places[:, 0].unique())
            raise RecipeError(
                f"data: the {name} rows have a NaN in row {row}, column {column} ({len(places)} in {rows} of "
                f"{len(split.x)} rows), which the objective cannot take; set phases.0.objective.missing to "
                "integrate if the model integrates missing values, or clean the table"
            )


def _place(part: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return part.to(device, dtype) if part.is_floating_point() else part.to(device)


def _initialize(model: Any, dataset: Dataset, dtype: torch.dtype) -> None:
    if not hasattr(model, "initialize"):
        return
    try:
        model.initialize(_place(dataset.train.x, torch.device("cpu"), dtype))
    except (ValueError, RuntimeError, TypeError) as error:
        raise RecipeError(f"model: {error}") from error


def _rehearse(prepared: Prepared) -> None:
    """Find now what would otherwise stop the first epoch: wrong shapes, learning rates, names of metrics."""
    model, monitor = prepared.model, prepared.monitor
    few = prepared.rows(prepared.dataset.valid.rows(slice(0, 3)))  # a correlation needs three
    with fixed_draws(prepared.device):
        try:
            values = evaluate(model, few, prepared.metrics)
        except (ValueError, IndexError, RuntimeError) as error:
            raise RecipeError(f"model: cannot evaluate the rows of {prepared.dataset.name}: {error}") from error
        if monitor.metric not in values:
            raise RecipeError(f"monitor.metric: no metric gives {monitor.metric!r} (accepted: {', '.join(values)})")
        for index, phase in enumerate(prepared.phases):
            _rehearse_phase(prepared, phase, f"phases.{index}")


def _rehearse_phase(prepared: Prepared, phase: Phase, key: str) -> None:
    """One update of a copy of the model, on two rows, or a few more where the objective may set some of them apart."""
    model = copy.deepcopy(prepared.model)
    objective = copy.deepcopy(phase.objective)  # it may have state
    chosen = select_parameters(model, phase.parameters)
    count = PREPARED if hasattr(objective, "prepare") else 2
    rows = prepared.rows(prepared.dataset.train.rows(slice(0, count)))
    if phase.augmentation is not None and hasattr(objective, "prepare"):
        kind = type(objective).__name__
        raise RecipeError(f"{key}.augmentation: {kind} prepares all rows before the phase; they cannot change later")
    try:
        part = "optimizer"
        optimizer = phase.optimizer([*chosen, *objective_parameters(objective)])
        part = "scheduler"
        scheduler = None if phase.scheduler is None else phase.scheduler(optimizer)
        part = "augmentation"
        rows = rows if phase.augmentation is None else phase.augmentation(rows)
        part = "objective"
        objective(model, prepare_rows(objective, model, rows)).value.backward()
        part = "optimizer"
        optimizer.step()
        part = "objective"
        finish_epoch(objective, model)
        pack(objective_state(objective))
        part = "scheduler"
        if scheduler is not None:
            step_schedule(scheduler, 0.0)
    except RecipeError:
        raise
    except Exception as error:  # whatever the classes that a recipe names may raise
        raise RecipeError(f"{key}.{part}: {' '.join(str(error).split()) or type(error).__name__}") from error
