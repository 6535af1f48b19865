"""The runner: a recipe in, a folder of results out.

``run`` trains what a recipe says, ``resume`` goes on with a run that was cut off, ``load`` gives the trained
model of a run and ``sample_run`` samples of it. The names load on first use, so that the command line can print
its help without waiting for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logprob.experiments.errors import DivergedError, RecipeError, RunError
    from logprob.experiments.results import Result
    from logprob.experiments.runner import evaluate_run, load, resume, run
    from logprob.experiments.sample import sample_run
    from logprob.experiments.schedulers import ReduceOnPlateau
    from logprob.experiments.schema import Figures, Phase, Recipe
    from logprob.experiments.stopping import Monitor, Stopping

__all__ = [
    "DivergedError",
    "Figures",
    "Monitor",
    "Phase",
    "Recipe",
    "RecipeError",
    "ReduceOnPlateau",
    "Result",
    "RunError",
    "Stopping",
    "evaluate_run",
    "load",
    "resume",
    "run",
    "sample_run",
]

_FILES = {
    "errors": ("DivergedError", "RecipeError", "RunError"),
    "schema": ("Figures", "Phase", "Recipe"),
    "results": ("Result",),
    "sample": ("sample_run",),
    "runner": ("evaluate_run", "load", "resume", "run"),
    "schedulers": ("ReduceOnPlateau",),
    "stopping": ("Monitor", "Stopping"),
}
_HOMES = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"logprob.experiments.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'logprob.experiments' has no attribute {name!r}")
