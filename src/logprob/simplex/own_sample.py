"""A law recognises the sample that it drew last, and knows its noise: nothing has to be inverted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class _Drawn(NamedTuple):
    value: Tensor
    noise: Tensor
    versions: tuple[int | None, ...]


class RemembersSample:
    """Keeps one entry: the last sample, by object identity as torch's transforms do, and its noise.

    The entry does not count if the sample or a parameter was changed in place since, or if the sample has become a leaf
    that asks for a gradient. It is left out of copies and pickles.

    Changes in place are told by torch's version counter, which neither writes by way of ``.data`` nor the steps of
    fused optimisers move. Make a new law after a step, as modules do at every call; then nothing can be stale.
    """

    _drawn: _Drawn | None = None

    def _remember(self, value: Tensor, noise: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        self._drawn = _Drawn(value, noise, _versions(value, *parameters))
        return value

    def _recall(self, value: Tensor, parameters: Sequence[Tensor]) -> Tensor | None:
        """The noise of ``value``, if that is the last sample."""
        if self._drawn is None or value is not self._drawn.value or (value.is_leaf and value.requires_grad):
            return None
        return self._drawn.noise if self._drawn.versions == _versions(value, *parameters) else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_drawn": None}


def _versions(*tensors: Tensor) -> tuple[int | None, ...]:
    """How often each was changed in place; inference tensors do not count that, nor are traced ones asked."""
    if torch.compiler.is_compiling():
        return ()
    return tuple(None if tensor.is_inference() else tensor._version for tensor in tensors)
