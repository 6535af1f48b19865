"""Predictions from a few chosen words: how good they are, and whether the words are the right ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.metrics.latent import slices


@dataclass(frozen=True)
class SubsetPrecision:
    """Share of the chosen words that people marked: ``sum z m / sum z`` over the rows with any mark, in per cent.

    ``z = model.selection(x).mode`` are the chosen words, ``m`` the marks in ``context``. Padding that is chosen counts
    as wrong. ``subset_precision``: higher is better; ``subset_precision_chance`` is that of words chosen at random
    among those that are no padding (number 0), as many as the model chose in each row where there are so many. Both
    are NaN if no row has a mark.

    Args:
        batch_size: rows evaluated at once.

    Raises:
        ValueError: when called, if the rows have no context.

    Example:
        >>> from types import SimpleNamespace
        >>> z = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
        >>> model = SimpleNamespace(selection=lambda x: SimpleNamespace(mode=z))
        >>> marks = torch.tensor([[False, False, True, True]])
        >>> SubsetPrecision()(model, Batch(torch.tensor([[5, 4, 9, 3]]), context=marks))
        {'subset_precision': 50.0, 'subset_precision_chance': 50.0}
    """

    batch_size: int = 500

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch`` with a mark."""
        if batch.context is None:
            raise ValueError("expected marks as context: nobody marked words of these rows")
        rows = batch.rows(batch.context.any(-1))
        if not len(rows.x):
            return dict.fromkeys(("subset_precision", "subset_precision_chance"), math.nan)
        with torch.no_grad():
            counts = [_counts(model, rows.rows(part)) for part in slices(len(rows.x), self.batch_size)]
        chosen, hits, expected = torch.stack(counts).sum(0)
        return {
            "subset_precision": (100 * hits / chosen).item(),
            "subset_precision_chance": (100 * expected / chosen).item(),
        }


def _counts(model: Any, rows: Batch) -> Tensor:
    """Words chosen, marked words among them, and how many there would be by chance."""
    z = model.selection(rows.x).mode.double()
    assert rows.context is not None
    marks, words = rows.context.double(), (rows.x != 0).double().sum(-1)
    by_chance = torch.minimum(z.sum(-1), words) * marks.sum(-1) / words
    return torch.stack([z.sum(), (z * marks).sum(), by_chance.sum()])


@dataclass(frozen=True)
class PredictionError:
    """Mean squared error of ``model.predict(x, z)``, times 100, with ``z = model.selection(x).mode``.

    ``mse_x100``, against the scores in ``target``: lower is better; ``mse_x100_constant`` is that of their own mean.

    Args:
        batch_size: rows evaluated at once.

    Raises:
        ValueError: when called, if the rows have no target, or predictions have another shape.

    Example:
        >>> from types import SimpleNamespace
        >>> model = SimpleNamespace(selection=lambda x: SimpleNamespace(mode=x), predict=lambda x, z: z.mean(-1))
        >>> PredictionError()(model, Batch(torch.eye(2), target=torch.tensor([0.25, 1.0])))
        {'mse_x100': 15.625, 'mse_x100_constant': 14.0625}
    """

    batch_size: int = 500

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``."""
        if batch.target is None:
            raise ValueError("expected scores as target")
        scores = batch.target.reshape(-1).double()
        with torch.no_grad():
            parts = [_predicted(model, batch.x[part]) for part in slices(len(batch.x), self.batch_size)]
        found = torch.cat(parts)
        if found.shape != scores.shape:
            raise ValueError(f"expected {len(scores)} predictions, got shape {tuple(found.shape)}")
        return {
            "mse_x100": 100 * (found - scores).square().mean().item(),
            "mse_x100_constant": 100 * scores.var(correction=0).item(),
        }


def _predicted(model: Any, x: Tensor) -> Tensor:
    predicted: Tensor = model.predict(x, model.selection(x).mode)
    return predicted.double().reshape(len(x), -1).squeeze(-1)
