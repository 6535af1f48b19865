"""The runner: a recipe in, a folder of results out.

``run`` trains what a recipe says, ``resume`` goes on with a run that was cut off, ``load`` gives the trained
model of a run.
"""

from logprob.experiments.errors import DivergedError, RecipeError, RunError
from logprob.experiments.recipe import Phase, Recipe
from logprob.experiments.results import Result
from logprob.experiments.runner import evaluate_run, load, resume, run
from logprob.experiments.schedulers import ReduceOnPlateau
from logprob.experiments.stopping import Monitor, Stopping

__all__ = [
    "DivergedError",
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
]
