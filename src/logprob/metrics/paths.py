"""How good predicted paths through grids are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.metrics.latent import slices

WITHIN = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001)  # per cent above the optimum


class _Rows(NamedTuple):
    """One number a map: wrong cells, whether the cells join the corners, cost relative to the cheapest path's."""

    wrong: Tensor
    valid: Tensor
    ratio: Tensor


@dataclass(frozen=True)
class PathQuality:
    """Compares ``model(context).mode`` with the cheapest paths ``x``, under the true costs ``target``.

    - ``hamming_loss``: cells that differ, mean over the maps; ``cell_accuracy``: share of the cells that agree;
      ``perfect_match``: share of the maps where all do.
    - ``valid_path``: share of the maps whose chosen cells lead from the upper left to the lower right corner, stepping
      to any of eight neighbours. Only these have a cost.
    - ``cost_ratio``: cost of the chosen cells divided by that of the cheapest path, mean over the valid maps; at
      least 1, and NaN if no map is valid.
    - ``within_10pct``, ``within_1pct``, ... ``within_0.0001pct``: share of *all* maps that are valid and cost at most
      so much more.

    Args:
        batch_size: maps evaluated at once.

    Raises:
        ValueError: when called, if the rows have no pictures or costs, or the paths are not of a square grid.

    Example:
        >>> from types import SimpleNamespace
        >>> best, costs = torch.eye(3).reshape(1, 9), torch.ones(1, 9)
        >>> around = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0]])
        >>> model = lambda pictures: SimpleNamespace(mode=around)
        >>> found = PathQuality()(model, Batch(best, torch.zeros(1, 3, 24, 24), costs))
        >>> found["hamming_loss"], found["valid_path"], found["cost_ratio"]
        (3.0, 1.0, 1.333...)
    """

    batch_size: int = 100

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``."""
        if batch.context is None or batch.target is None or isqrt(batch.x.shape[-1]) ** 2 != batch.x.shape[-1]:
            raise ValueError("expected pictures as context, costs as target, and x of square grids (N, side^2)")
        with torch.no_grad():
            parts = [_compared(model, batch.rows(part)) for part in slices(len(batch.x), self.batch_size)]
        rows = _Rows(*(torch.cat(values) for values in zip(*parts, strict=True)))
        ratio = rows.ratio[rows.valid]
        shares = {f"within_{p:g}pct": (ratio - 1 <= p / 100).sum().item() / len(rows.ratio) for p in WITHIN}
        return {
            "hamming_loss": rows.wrong.mean().item(),
            "cell_accuracy": 1 - rows.wrong.mean().item() / batch.x.shape[-1],
            "perfect_match": (rows.wrong == 0).double().mean().item(),
            "valid_path": rows.valid.double().mean().item(),
            "cost_ratio": ratio.mean().item(),
            **shares,
        }


def _compared(model: Any, batch: Batch) -> _Rows:
    law = model(batch.context)
    chosen, best = law.mode.reshape(batch.x.shape).double(), batch.x.double()
    assert batch.target is not None
    costs = batch.target.double()
    wrong = (chosen - best).abs().sum(-1)
    return _Rows(wrong, joins_corners(chosen), (costs * chosen).sum(-1) / (costs * best).sum(-1))


def joins_corners(cells: Tensor) -> Tensor:
    """Whether the cells that are more than 1/2 lead from the first to the last one of a square grid.

    Args:
        cells: ``(N, side^2)``.

    Returns: booleans ``(N,)``.

    Example:
        >>> joins_corners(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]]))
        tensor([ True, False])
    """
    side = isqrt(cells.shape[-1])
    open_cells = (cells > 0.5).to(cells.dtype).reshape(-1, 1, side, side)
    reached = torch.zeros_like(open_cells)
    reached[..., 0, 0] = open_cells[..., 0, 0]
    while True:
        wider = F.max_pool2d(reached, 3, stride=1, padding=1) * open_cells
        if torch.equal(wider, reached):
            return wider[:, 0, -1, -1] > 0.5
        reached = wider
