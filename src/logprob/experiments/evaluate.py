"""Exact metrics of a model on whole splits."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.distributions.draws import fixed_draws
from logprob.metrics import Metric


def evaluate(model: DistributionModule, rows: Batch, metrics: Sequence[Metric]) -> dict[str, float]:
    """All numbers of all ``metrics`` on ``rows``, with the model in evaluation mode and without gradients.

    A metric that draws random numbers draws the same ones each time, so that epochs and models compare, and
    training goes on as if it had drawn none.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), fixed_draws(rows.x.device):
            return {name: float(value) for metric in metrics for name, value in metric(model, rows).items()}
    finally:
        model.train(training)
