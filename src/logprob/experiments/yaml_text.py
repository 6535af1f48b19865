"""YAML in and out: plain values only, no repeated keys, and ``1e-3`` is a number."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from logprob.experiments.errors import RecipeError


class _Loader(yaml.SafeLoader):
    """The safe loader, which builds nothing but plain values, with two repairs."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, source: str) -> Any:
    """Plain values from YAML text.

    Args:
        text: the YAML.
        source: where it came from, for the message.

    Raises:
        RecipeError: if the text is not YAML, repeats a key or asks for a Python object.

    Example:
        >>> read_yaml("{lr: 1e-3, units: 8}", "example")
        {'lr': 0.001, 'units': 8}
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None


class _Dumper(yaml.SafeDumper):
    """The safe dumper, with short lists of plain values on one line."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        plain = not any(isinstance(item, (dict, list)) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=plain)


# YAML 1.1 wants a dot in a float, so that PyYAML reads 1e-3 as text; what writes must know what reads.
for _resolver in (_Loader, _Dumper):
    _resolver.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def write_yaml(value: Any) -> str:
    """YAML text of plain values, keys in the order given."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
