"""From plain values to constructor calls: names resolved, keys and types checked, nothing built yet."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from logprob.experiments.catalogue import Catalogue
from logprob.experiments.errors import RecipeError, nearest
from logprob.experiments.hints import (
    REQUIRED,
    Wanted,
    arguments,
    check,
    describe,
    element,
    members,
    plain,
    returned,
    wanted,
)


@dataclass(frozen=True)
class Node:
    """A checked constructor call that has not happened yet.

    Args:
        path: dotted name of ``target``.
        target: the class or function.
        arguments: values of its arguments: plain, a Node, or a list of those.
        key: where it stands in the recipe, for messages.
        implied: whether the hint alone says which class it is, so that YAML need not name it.
        positional: number of leading arguments that come later, if it is a factory.
        factory: whether the argument wants something to call rather than the result.
    """

    path: str
    target: Callable[..., Any]
    arguments: Mapping[str, Any]
    key: str
    implied: bool = False
    positional: int = 0
    factory: bool = False

    def build(self) -> Any:
        """Call the constructor.

        Raises:
            RecipeError: if it refuses its arguments.
        """
        values = {name: build(value) for name, value in self.arguments.items()}
        if self.factory:
            return partial(self.target, **values)
        try:
            return self.target(**values)
        except RecipeError:
            raise
        except Exception as error:  # whatever the constructor raises
            raise RecipeError(f"{self.key or 'recipe'}: {self.path.rpartition('.')[2]}: {error}") from error

    def missing(self) -> list[str]:
        """Required arguments that have no value yet."""
        named = arguments(self.target, self.positional)
        return [n for n, a in named.items() if a.default is REQUIRED and n not in self.arguments]


def build(value: Any) -> Any:
    """The object that a plain value, a :class:`Node` or a list of those stands for."""
    if isinstance(value, Node):
        return value.build()
    return [build(item) for item in value] if isinstance(value, list) else value


def to_plain(value: Any) -> Any:
    """The YAML form of a plain value, a :class:`Node` or a list of those."""
    if isinstance(value, Node):
        values = {name: to_plain(item) for name, item in value.arguments.items()}
        if value.implied:
            return values
        return {"class_path": value.path} | ({"init_args": values} if values else {})
    return [to_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def resolve(value: Any, hint: Any, key: str, catalogue: Catalogue) -> Any:
    """Check ``value`` against ``hint``; names of classes become :class:`Node` objects.

    Args:
        value: plain YAML value.
        hint: type hint of the argument it is for.
        key: dotted place in the recipe, for messages.
        catalogue: the classes that may be named.

    Raises:
        RecipeError: unknown class or key, wrong type.
    """
    if value is None and types.NoneType in members(hint):
        return None
    if isinstance(value, list) and (item := element(hint, 0)) is not None and plain(item) is None:
        return [resolve(v, element(hint, i), _join(key, i), catalogue) for i, v in enumerate(value)]
    choices = list(wanted(hint))
    if choices and isinstance(value, dict):
        return _resolve_dict(value, hint, choices, key, catalogue)
    if choices and isinstance(value, str) and not _is_plain(value, hint, key):
        return _call(value, {}, hint, choices, key, catalogue)
    return check(value, hint, key)


def _join(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _is_plain(value: str, hint: Any, key: str) -> bool:
    if plain(hint) is None:
        return False
    try:
        check(value, hint, key)
    except RecipeError:
        return False
    return True


def _resolve_dict(value: dict[str, Any], hint: Any, choices: list[Wanted], key: str, catalogue: Catalogue) -> Node:
    if "class_path" not in value:
        only = choices[0].cls
        if len(choices) == 1 and dataclasses.is_dataclass(only) and not inspect.isabstract(only):
            return _node(only.__name__, only, value, choices[0], key, catalogue, implied=True)
        raise RecipeError(f"{key}: class_path is missing; expected {describe(hint)}")
    extra = sorted(set(value) - {"class_path", "init_args"}, key=str)
    if extra:
        raise RecipeError(f"{_join(key, extra[0])}: unknown key beside class_path; put it into init_args")
    given = value.get("init_args") or {}
    if not isinstance(value["class_path"], str) or not isinstance(given, dict):
        raise RecipeError(f"{key}: class_path must be a name and init_args a mapping")
    return _call(value["class_path"], given, hint, choices, key, catalogue)


def _call(name: str, given: dict[str, Any], hint: Any, choices: list[Wanted], key: str, catalogue: Catalogue) -> Node:
    found = catalogue.find(name, lambda thing: any(_fits(thing, c) for c in choices))
    match = next((c for c in choices if found and _fits(found[1], c)), None)
    names = {n for n, thing in catalogue.names() if any(_offered(thing, c) for c in choices)}
    if found is None and any(m is not types.NoneType and plain(m) is not None for m in members(hint)):
        raise RecipeError(f"{key}: expected {describe(hint)}, got {name!r}")
    if found is None or match is None:
        kind = "is not" if found else "is an unknown class; expected"
        raise RecipeError(f"{key}: {name!r} {kind} {describe(hint)}{nearest(name.rpartition('.')[2], names)}")
    return _node(*found, given, match, key, catalogue)


def _fits(thing: Any, choice: Wanted) -> bool:
    if choice.cls is types.FunctionType:
        return inspect.isfunction(thing)
    made = returned(thing) if inspect.isfunction(thing) else thing
    return inspect.isclass(made) and not inspect.isabstract(made) and _is_a(made, choice.cls)


def _is_a(made: type, wanted: type) -> bool:
    if not getattr(wanted, "_is_protocol", False):
        return issubclass(made, wanted)
    # Whether the protocol may be used with issubclass or not; every class is callable, so look for the definition.
    methods = [name for name in vars(wanted) if name == "__call__" or not name.startswith("_")]
    return all(any(name in vars(base) for base in made.__mro__) for name in methods)


def _offered(thing: Any, choice: Wanted) -> bool:
    """Whether to name ``thing`` as accepted: any callable satisfies a protocol of one call."""
    if getattr(choice.cls, "_is_protocol", False):
        home = choice.cls.__module__.rpartition(".")[0]
        return thing.__module__.startswith(home) and thing is not choice.cls and _fits(thing, choice)
    return thing is not choice.cls and _fits(thing, choice)


def _node(
    path: str,
    target: Callable[..., Any],
    given: dict[str, Any],
    choice: Wanted,
    key: str,
    catalogue: Catalogue,
    implied: bool = False,
) -> Node:
    if choice.cls is types.FunctionType:  # the function itself is the value
        return Node(path, target, {}, key, factory=True)
    named = arguments(target, choice.positional)
    for name in given:
        if name not in named:
            raise RecipeError(f"{_join(key, name)}: unknown key{nearest(str(name), named)}")
    values = {}
    for name, argument in named.items():
        if name in given:
            values[name] = resolve(given[name], argument.hint, _join(key, name), catalogue)
        elif argument.default is not REQUIRED:
            default = _default(argument.default, argument.hint, _join(key, name), catalogue)
            if default is not _UNWRITTEN:
                values[name] = default
    return Node(path, target, values, key, implied, choice.positional, choice.factory)


_UNWRITTEN = object()


def _default(value: Any, hint: Any, key: str, catalogue: Catalogue) -> Any:
    """A default as a recipe holds it, so that a later change of the default changes no written recipe."""
    if isinstance(value, (bool, int, float, str)):
        with contextlib.suppress(RecipeError):  # 0 for a float becomes 0.0, as it does when it is read again
            return check(value, hint, key)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        items = [_default(item, element(hint, i), _join(key, i), catalogue) for i, item in enumerate(value)]
        return _UNWRITTEN if any(item is _UNWRITTEN for item in items) else items
    implied = [choice.cls for choice in wanted(hint)] == [type(value)]
    path = type(value).__name__ if implied else catalogue.path(type(value))
    if path is None or not dataclasses.is_dataclass(value):
        return _UNWRITTEN
    values = {}
    for name, argument in arguments(type(value)).items():
        values[name] = _default(getattr(value, name), argument.hint, _join(key, name), catalogue)
    if any(item is _UNWRITTEN for item in values.values()):
        return _UNWRITTEN
    return Node(path, type(value), values, key, implied)


def nodes(value: Any) -> Iterator[Node]:
    """All nodes of a tree, outermost first."""
    if isinstance(value, Node):
        yield value
        for item in value.arguments.values():
            yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


def fill(value: Any, known: Mapping[str, Any]) -> Any:
    """Give every argument that was left unset, and has the name of a known value, that value.

    Unset means: no value and no default, or None. Values known as None fill nothing.
    """
    if isinstance(value, list):
        return [fill(item, known) for item in value]
    if not isinstance(value, Node):
        return value
    given = {name: fill(item, known) for name, item in value.arguments.items()}
    filled = {}
    for name in arguments(value.target, value.positional):  # in the order of the signature
        if given.get(name) is None and known.get(name) is not None:
            filled[name] = known[name]
        elif name in given:
            filled[name] = given[name]
    return dataclasses.replace(value, arguments=filled)


def require(value: Any, except_for: Collection[str] = ()) -> None:
    """Check that no required argument lacks a value.

    Raises:
        RecipeError: naming the first one.
    """
    for node in nodes(value):
        for name in node.missing():
            if name not in except_for:
                raise RecipeError(f"{_join(node.key, name)}: required by {node.path.rpartition('.')[2]}, not given")
