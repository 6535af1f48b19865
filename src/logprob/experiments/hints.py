"""What a constructor accepts, read from its signature and type hints; jsonargparse checks plain values."""

from __future__ import annotations

import contextlib
import inspect
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from logprob.experiments.errors import RecipeError

REQUIRED = inspect.Parameter.empty
_SCALARS = (bool, int, float, str, types.NoneType, Path)
_MANY = (list, tuple, Sequence, Iterable, Collection)


class Argument(NamedTuple):
    """One named argument of a constructor."""

    hint: Any
    default: Any = REQUIRED


class Wanted(NamedTuple):
    """A class that a hint asks for: an instance, or a factory completed by ``positional`` arguments."""

    cls: type
    positional: int = 0
    factory: bool = False


def arguments(target: Callable[..., Any], skip: int = 0) -> dict[str, Argument]:
    """Named arguments of a class or function, without its first ``skip``.

    Example:
        >>> def tree(variables: int, depth: int | None = None): ...
        >>> list(arguments(tree)), arguments(tree)["depth"].default
        (['variables', 'depth'], None)
    """
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = [p for p in inspect.signature(target).parameters.values() if p.kind in named][skip:]
    hints = _hints(target)
    return {p.name: Argument(hints.get(p.name, Any), p.default) for p in parameters}


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Type hints by argument, without those that name what is imported for type checkers only."""
    function: Any = inspect.unwrap(target.__init__ if inspect.isclass(target) else target)
    names = getattr(function, "__globals__", {})
    hints: dict[str, Any] = {}
    for name, hint in getattr(function, "__annotations__", {}).items():
        one: Any = types.SimpleNamespace(__annotations__={name: hint})
        with contextlib.suppress(NameError, TypeError, AttributeError):
            hints |= get_type_hints(one, globalns=names)
    return hints


def returned(function: Callable[..., Any]) -> Any:
    """The annotated return type of a function, or None."""
    return _hints(function).get("return")


def members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the hint alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def plain(hint: Any) -> Any:
    """The part of ``hint`` that plain YAML values can satisfy, or None.

    Example:
        >>> import torch
        >>> plain(float | torch.Tensor), plain(torch.Tensor)
        (<class 'float'>, None)
    """
    if hint is Any or hint in _SCALARS or get_origin(hint) is Literal:
        return hint
    if len(members(hint)) > 1:
        kept = [part for part in map(plain, members(hint)) if part is not None]
        return reduce(or_, kept) if kept else None
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (*_MANY, dict, Mapping):
        parts = [part if part is Ellipsis else plain(part) for part in inner]
        base = list if origin in (Sequence, Iterable, Collection) else dict if origin is Mapping else origin
        return None if None in parts else base[tuple(parts)]
    return hint if hint in (list, tuple, dict) else None


def wanted(hint: Any) -> Iterator[Wanted]:
    """Classes of which ``hint`` accepts an instance or a factory."""
    for part in members(hint):
        if get_origin(part) is Callable:
            positional, result = get_args(part)
            if inspect.isclass(result) and plain(result) is None:
                yield Wanted(result, 0 if positional is Ellipsis else len(positional), factory=True)
            else:
                yield Wanted(types.FunctionType)
        elif part is Callable:
            yield Wanted(types.FunctionType)
        elif inspect.isclass(part) and plain(part) is None:
            yield Wanted(part)


def element(hint: Any, index: int) -> Any:
    """The hint of item ``index`` of a list that ``hint`` accepts, or None if it accepts none."""
    for part in members(hint):
        if get_origin(part) in _MANY:
            inner = get_args(part)
            homogeneous = get_origin(part) is not tuple or inner[-1] is Ellipsis
            return inner[0] if homogeneous else inner[min(index, len(inner) - 1)]
    return None


def describe(hint: Any) -> str:
    """A hint in words.

    Example:
        >>> describe(int | None), describe(Literal["cp", "tucker"])
        ('int or null', "'cp' or 'tucker'")
    """
    parts = []
    for part in members(hint):
        if get_origin(part) is Literal:
            parts += [repr(value) if value is not None else "null" for value in get_args(part)]
        elif part is types.NoneType:
            parts.append("null")
        elif inspect.isclass(part) and get_origin(part) is None:
            parts.append(part.__name__)
        elif get_origin(part) is Callable and inspect.isclass(get_args(part)[1]):
            parts.append(get_args(part)[1].__name__)
        elif (item := element(part, 0)) is not None and plain(part) is None:
            parts.append(f"list of {describe(item)}")
        else:
            parts.append(str(part).replace("typing.", "").replace("collections.abc.", ""))
    return " or ".join(dict.fromkeys(parts))


def check(value: Any, hint: Any, key: str) -> Any:
    """``value`` as jsonargparse reads it for ``hint``.

    Raises:
        RecipeError: if it is of another type, or holds a ``class_path`` where no class is expected.
    """
    allowed = plain(hint)
    # jsonargparse lets null by, whatever the type.
    unset = value is None and allowed is not Any and types.NoneType not in members(hint)
    if allowed is None or unset or _names_a_class(value):
        raise RecipeError(f"{key}: expected {describe(hint)}, got {value!r}")
    if allowed is Any:
        return value
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=allowed)
    try:
        return parser.parse_object({"value": value}).value
    except ArgumentError:
        raise RecipeError(f"{key}: expected {describe(hint)}, got {value!r}") from None


def _names_a_class(value: Any) -> bool:
    # jsonargparse would import it, so that a recipe could run code of its own.
    if isinstance(value, dict):
        return "class_path" in value or any(map(_names_a_class, value.values()))
    return isinstance(value, list) and any(map(_names_a_class, value))
