"""A smoke run: a recipe from end to end in seconds, on rows that stand in for its data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from logprob.batch import Batch
from logprob.data import Dataset, DataSource
from logprob.experiments.nodes import Node
from logprob.experiments.recipe import CheckedRecipe

ROWS = 16  # to train on, and to initialise from
EVALUATED = 8  # of validation and of test; a large image flow takes a second for these on one core
STEPS, BATCH = 2, 8
# Hardly any learning: on rows that mean nothing a full step can make a deep flow overflow.
WARM_UP = 1000.0

_PHASE = {"epochs": None, "steps": STEPS, "warmup_epochs": WARM_UP, "evaluate_every": 1, "stopping": None}
_FIGURES = {"samples": 4, "reconstructions": 4, "every": 0}


def shortened(recipe: CheckedRecipe) -> CheckedRecipe:
    """The recipe with two updates a phase on at most eight rows each, and few pictures."""
    given = recipe.node.arguments
    phases = []
    for phase in given["phases"]:
        size, parts = (phase.arguments[name] for name in ("batch_size", "accumulate"))
        phases.append(_changed(phase, **_PHASE, batch_size=min(BATCH, size), accumulate=min(2, parts)))
    figures = given["figures"] and _changed(given["figures"], **_FIGURES)
    changes = {"title": f"smoke: {given['title']}", "phases": phases, "figures": figures}
    return CheckedRecipe(recipe.name, _changed(recipe.node, **changes))


def shortened_study(recipe: CheckedRecipe) -> CheckedRecipe:
    """The recipe of a study with the arguments that the study itself calls small."""
    given = recipe.node.arguments
    study = _changed(given["study"], **given["study"].build().small())
    return CheckedRecipe(recipe.name, _changed(recipe.node, title=f"smoke: {given['title']}", study=study))


def _changed(node: Node, **values: Any) -> Node:
    return dataclasses.replace(node, arguments={**node.arguments, **values})


def stand_in(source: DataSource, root: str | Path | None) -> Dataset:
    """A few rows of the shape and the range of the source's, made without its files where it can make them."""
    dataset = source.stand_in(ROWS, root)

    def few(rows: Batch, count: int) -> Batch:
        return rows.rows(slice(0, count))

    valid, test = (few(rows, EVALUATED) for rows in (dataset.valid, dataset.test))
    return dataclasses.replace(dataset, train=few(dataset.train, ROWS), valid=valid, test=test)
