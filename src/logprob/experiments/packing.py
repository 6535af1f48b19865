"""State of training as named tensors and strict JSON: no pickle is written, and none is ever loaded."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor


def pack(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split nested dicts, lists and tuples into JSON values and tensors.

    A dict with keys that are not text, a tuple, a tensor and a non-finite number become dicts of one key,
    which starts with a dollar sign.

    Returns:
        What JSON can hold, and the tensors by name.

    Raises:
        TypeError: if something can be neither.

    Example:
        >>> import torch
        >>> pack({0: (1, float("inf")), "x": torch.zeros(2)})[0]
        {'$items': [[0, {'$tuple': [1, {'$float': 'inf'}]}], ['x', {'$tensor': 'x'}]]}
    """
    tensors: dict[str, Tensor] = {}

    def walk(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            key = name if name not in tensors else f"{name}#{len(tensors)}"
            tensors[key] = value.detach().cpu().clone().contiguous()
            return {"$tensor": key}
        if isinstance(value, dict):
            pairs = [(key, walk(item, f"{name}/{key}" if name else f"{key}")) for key, item in value.items()]
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return dict(pairs)
            return {"$items": [list(pair) for pair in pairs]}
        if isinstance(value, (list, tuple)):
            items = [walk(item, f"{name}/{index}") for index, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        if isinstance(value, float) and not math.isfinite(value):
            return {"$float": str(value)}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TypeError(f"{name}: a checkpoint cannot hold a {type(value).__name__}")

    return walk(value, ""), tensors


def unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo :func:`pack`.

    Example:
        >>> unpack(*pack({1: (2.0, float("-inf"))}))
        {1: (2.0, -inf)}
    """
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key == "$tensor":
            return tensors[inner]
        if key == "$float":
            return float(inner)
        if key == "$tuple":
            return tuple(unpack(item, tensors) for item in inner)
        if key == "$items":
            return {name: unpack(item, tensors) for name, item in inner}
    return {name: unpack(item, tensors) for name, item in value.items()}
