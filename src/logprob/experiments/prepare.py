"""From a checked recipe to all that training needs; what can be wrong is found here, before it starts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.data import CorruptDataError, Dataset, MissingDataError
from logprob.distributions import DistributionModule
from logprob.experiments.errors import RecipeError
from logprob.experiments.evaluate import evaluate
from logprob.experiments.fit import Fit, Watcher, select_parameters, step_schedule
from logprob.experiments.nodes import build
from logprob.experiments.recipe import CheckedRecipe, Phase
from logprob.experiments.seeding import default_dtype, seed_everything
from logprob.experiments.stopping import Monitor
from logprob.metrics import Metric


@dataclass(frozen=True)
class Prepared:
    """A run that can start.

    Args:
        recipe: with the values that came from the data.
        dataset: as loaded, on the CPU.
        model: seeded, initialised, on its device.
        phases: of training.
        metrics: to evaluate.
        monitor: what chooses the best.
        shuffler: generator of the order of the rows.
        device: of model and rows.
        dtype: of parameters and continuous rows.
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

    def rows(self, split: Batch) -> Batch:
        """A split on the device and in the type of the model; integer codes stay integers."""
        x, context, target = (None if p is None else _place(p, self.device, self.dtype) for p in split)
        assert x is not None
        return Batch(x, context, target)

    def fit(self, watchers: Sequence[Watcher] = ()) -> Fit:
        """The training, not started."""
        train, valid = self.rows(self.dataset.train), self.rows(self.dataset.valid)
        return Fit(self.model, train, valid, self.phases, self.metrics, self.monitor, self.shuffler, watchers)


def prepare(recipe: CheckedRecipe, data_root: str | Path | None = None, device: str = "cpu") -> Prepared:
    """Load the data, fill the recipe from them, build everything and try it on two rows.

    Raises:
        RecipeError: if a constructor refuses its values, the model the data, or there is no such device.
        MissingDataError: if a file is not found.
        CorruptDataError: if a file is not what it should be.
    """
    place = find_device(device)
    dataset = load_data(recipe, data_root)
    recipe = recipe.filled(dataset)
    phases = build(recipe["phases"])
    refuse_missing(dataset, phases)
    dtype = getattr(torch, recipe["dtype"])
    shuffler = seed_everything(recipe["seed"])
    with default_dtype(dtype):
        model = build(recipe["model"]).to(dtype)
        _initialize(model, dataset, dtype)
    metrics, monitor = build(recipe["metrics"]), build(recipe["monitor"])
    prepared = Prepared(recipe, dataset, model.to(place), phases, metrics, monitor, shuffler, place, dtype)
    _rehearse(prepared)
    return prepared


def load_data(recipe: CheckedRecipe, data_root: str | Path | None) -> Dataset:
    """Load the recipe's data set."""
    try:
        return build(recipe["data"]).load(data_root)
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
    two = prepared.rows(prepared.dataset.valid.rows(slice(0, 2)))
    with torch.random.fork_rng(devices=[]):
        try:
            values = evaluate(model, two, prepared.metrics)
        except (ValueError, IndexError, RuntimeError) as error:
            raise RecipeError(f"model: cannot evaluate the rows of {prepared.dataset.name}: {error}") from error
        if monitor.metric not in values:
            raise RecipeError(f"monitor.metric: no metric gives {monitor.metric!r} (accepted: {', '.join(values)})")
        for index, phase in enumerate(prepared.phases):
            _rehearse_phase(prepared, phase, f"phases.{index}")


def _rehearse_phase(prepared: Prepared, phase: Phase, key: str) -> None:
    """One update of a copy of the model, on two rows."""
    model = copy.deepcopy(prepared.model)
    chosen = select_parameters(model, phase.parameters)
    rows = prepared.rows(prepared.dataset.train.rows(slice(0, 2)))
    try:
        part = "optimizer"
        optimizer = phase.optimizer(chosen)
        part = "scheduler"
        scheduler = None if phase.scheduler is None else phase.scheduler(optimizer)
        part = "objective"
        loss = copy.deepcopy(phase.objective)(model, rows).value  # an objective may have state
        loss.backward()
        part = "optimizer"
        optimizer.step()
        part = "scheduler"
        if scheduler is not None:
            step_schedule(scheduler, 0.0)
    except RecipeError:
        raise
    except Exception as error:  # whatever the classes that a recipe names may raise
        raise RecipeError(f"{key}.{part}: {' '.join(str(error).split()) or type(error).__name__}") from error
