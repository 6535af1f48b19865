"""The rows that a model sees at once."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Rows of data: ``x``, what a conditional model conditions on, and what a predictive model predicts.

    Shapes: ``x`` is ``(N, *event)``; ``context`` and ``target``, where present, have the same first dimension.
    """

    x: Tensor
    context: Tensor | None = None
    target: Tensor | None = None

    def rows(self, index: slice | Tensor) -> Batch:
        """The rows that ``index`` selects, of every part that is present."""
        rest = (None if part is None else part[index] for part in (self.context, self.target))
        return Batch(self.x[index], *rest)
