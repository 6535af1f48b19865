"""Exact test log-likelihood, and the same number in other units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule


def log_prob_rows(model: DistributionModule, batch: Batch, batch_size: int = 1024) -> Tensor:
    """Exact log-probability of every row in nats, float64, shape ``(N,)``, computed ``batch_size`` rows at a time."""
    with torch.no_grad():
        if batch.context is None:
            distribution = model()
            parts = [distribution.log_prob(x) for x in batch.x.split(batch_size)]
        else:
            chunks = zip(batch.x.split(batch_size), batch.context.split(batch_size), strict=True)
            parts = [model(context).log_prob(x) for x, context in chunks]
    return torch.cat(parts).double()


@dataclass(frozen=True)
class LogLikelihood:
    """Mean exact log-likelihood of the rows.

    ``log_likelihood`` in nats (higher is better), ``log_likelihood_se`` its standard error,
    ``bits_per_dim = -log_likelihood / (D ln 2)`` (lower is better).

    Args:
        batch_size: rows evaluated at once.
    """

    batch_size: int = 1024

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``."""
        rows = log_prob_rows(model, batch, self.batch_size)
        mean = rows.mean().item()
        standard_error = rows.std().item() / math.sqrt(len(rows)) if len(rows) > 1 else math.nan
        dimensions = batch.x[0].numel()
        return {
            "log_likelihood": mean,
            "log_likelihood_se": standard_error,
            "bits_per_dim": -mean / (dimensions * math.log(2)),
        }
