"""Which edges of a hidden graph were found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.metrics.latent import slices, standard_error


@dataclass(frozen=True)
class EdgeScores:
    """Compares the edges that a model chooses, the mode of ``model.posteriors(x)[0]``, with those in ``target``.

    ``edge_accuracy``: share of the pairs of vertices that are right; ``edge_precision``: share of the chosen edges that
    are true, 0 where none is chosen; ``edge_recall``: share of the true edges that are chosen. Each is a mean over the
    graphs; ``edge_precision_se`` is the standard error of the second. Counting both directions of an edge gives the
    same numbers.

    Args:
        label_swap: whether the *other* edges count as chosen, if that gives the higher mean precision. Published
            numbers do so, since types of edges have no names in a model that learns without labels; but it looks at
            the answers, and a model whose edges are trees has nothing to swap.
        batch_size: graphs evaluated at once.

    Raises:
        ValueError: when called, if the rows have no target, or its shape is not that of the edges.

    Example:
        >>> from types import SimpleNamespace
        >>> chosen = torch.tensor([[1.0, 1.0, 0.0]])
        >>> model = SimpleNamespace(posteriors=lambda x: [SimpleNamespace(mode=chosen)])
        >>> EdgeScores()(model, Batch(torch.zeros(1, 30), target=torch.tensor([[1.0, 0.0, 1.0]])))
        {'edge_accuracy': 0.333..., 'edge_precision': 0.5, 'edge_precision_se': nan, 'edge_recall': 0.5}
    """

    label_swap: bool = False
    batch_size: int = 500

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``."""
        if batch.target is None:
            raise ValueError("expected the true edges as target")
        with torch.no_grad():
            chosen = torch.cat([_edges(model, batch.x[part]) for part in slices(len(batch.x), self.batch_size)])
        if chosen.shape != batch.target.shape:
            raise ValueError(f"expected edges {tuple(batch.target.shape)}, got {tuple(chosen.shape)}")
        truth = batch.target.double()
        numbers = _scores(chosen, truth)
        if self.label_swap:
            numbers = max(numbers, _scores(1 - chosen, truth), key=lambda found: found["edge_precision"])
        return numbers


def _edges(model: Any, x: Tensor) -> Tensor:
    mode: Tensor = model.posteriors(x)[0].mode
    edges = model.edges(mode) if hasattr(model, "edges") else mode
    return edges.double()


def _scores(chosen: Tensor, truth: Tensor) -> dict[str, float]:
    hits = (chosen * truth).sum(-1)
    precision = hits / chosen.sum(-1).clamp(min=1)
    return {
        "edge_accuracy": (chosen == truth).double().mean().item(),
        "edge_precision": precision.mean().item(),
        "edge_precision_se": standard_error(precision),
        "edge_recall": (hits / truth.sum(-1).clamp(min=1)).mean().item(),
    }
