"""The classes that a recipe may name: those of logprob, torch.optim and modules that the user names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType, ModuleType
from typing import Any

import logprob
from logprob.experiments.errors import RecipeError

_NOT_ROOMS = ("__version__", "experiments", "testing")


class Catalogue:
    """Public names that a recipe may use, short or dotted.

    Args:
        imports: modules named by the user, imported here; their own classes and functions join.

    Raises:
        RecipeError: if one of ``imports`` cannot be imported.

    Example:
        >>> Catalogue().find("Adam")[0]
        'torch.optim.Adam'
    """

    def __init__(self, imports: Sequence[str] = ()) -> None:
        self.imports = tuple(imports)
        self._paths: dict[str, Any] = {}
        for module in (*_rooms(), *map(_import, imports)):
            self._paths |= {f"{module.__name__}.{name}": thing for name, thing in _public(module)}
        self._paths |= dict(_torch_optim())
        self._short: dict[str, list[str]] = {}
        for path in self._paths:
            self._short.setdefault(path.rpartition(".")[2], []).append(path)

    def find(self, name: str, fits: Callable[[Any], bool] = lambda thing: True) -> tuple[str, Any] | None:
        """Full path and object of a short or dotted name, or None if a recipe may not use it.

        Args:
            name: the name.
            fits: which of several things of the same short name is meant; if it says no to all, any may be.

        Raises:
            RecipeError: if a short name still means several things.
        """
        if name in self._paths:
            return name, self._paths[name]
        paths = self._short.get(name, [])
        paths = [path for path in paths if fits(self._paths[path])] or paths
        if len({id(self._paths[path]) for path in paths}) > 1:
            raise RecipeError(f"{name!r} means {' and '.join(paths)}; write the one you mean in full")
        return (paths[0], self._paths[paths[0]]) if paths else None

    def path(self, thing: Any) -> str | None:
        """Full path of an object of the catalogue, or None."""
        return next((path for path, other in self._paths.items() if other is thing), None)

    def names(self) -> Iterator[tuple[str, Any]]:
        """All short names with their objects."""
        return ((path.rpartition(".")[2], thing) for path, thing in self._paths.items())


def _rooms() -> Iterator[ModuleType]:
    for name in logprob.__all__:
        if name not in _NOT_ROOMS and importlib.util.find_spec(f"logprob.{name}"):
            yield importlib.import_module(f"logprob.{name}")
    yield importlib.import_module("logprob.experiments.schedulers")
    yield importlib.import_module("logprob.experiments.studies")


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Classes and functions of a module that its own package defines: `import os` in it offers nothing."""
    for name in getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]:
        thing = getattr(module, name)
        if isinstance(thing, (type, FunctionType)):
            home = thing.__module__
            if home == module.__name__ or home.startswith((f"{module.__name__}.", "logprob.")):
                yield name, thing


def _torch_optim() -> Iterator[tuple[str, Any]]:
    import torch

    bases = {
        torch.optim: torch.optim.Optimizer,
        torch.optim.lr_scheduler: torch.optim.lr_scheduler.LRScheduler,
    }
    for module, base in bases.items():
        for name, thing in vars(module).items():
            if inspect.isclass(thing) and issubclass(thing, base) and thing is not base and name[0] != "_":
                yield f"{module.__name__}.{name}", thing


def _import(name: str) -> ModuleType:
    sys.path.insert(0, "")  # the working folder, as `python -m` has it; a console script does not
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the user's module raises
        raise RecipeError(f"--import {name}: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove("")
