"""Losses as experiments with discrete latent variables printed them; they bound nothing, and are here to compare."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from logprob.batch import Batch
from logprob.distributions.checks import check_latent, refuse_context
from logprob.gradients import PathwiseGradient
from logprob.objectives.base import Loss


class PublishedSubsetLoss(nn.Module):
    """``mean_b [sum_s -log p(x_b | z_s) + KL_b]``, in nats, with the divergence of *one* category a block.

    The log-likelihood is summed, not averaged, over the S samples, and ``KL_b`` is what it would be were every block of
    scores a categorical variable, whatever the law of z: see :func:`published_subset_divergence`. Its metric
    ``published_loss`` is the loss divided by S. None is a bound of the evidence; :class:`NegativeELBO` has one.

    Args:
        gradient: how z gets a gradient.
        samples: S.

    Raises:
        ValueError: if ``samples`` is below 1.
        TypeError: when called, if the model has no latent variables.

    References:
        Minervini, Franceschi and Niepert, "Adaptive Perturbation-Based Gradient Estimation for Discrete Latent
        Variable Models", AAAI 2023.
    """

    def __init__(self, gradient: PathwiseGradient, samples: int = 10) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        self.gradient, self.samples = gradient, samples

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss in nats; its metrics are the loss divided by S, and its two parts."""
        check_latent(model, type(self).__name__)
        refuse_context(model, batch.context)
        (q,) = model.posteriors(batch.x)
        z = self.gradient.rsample(q, (self.samples,))
        log_likelihood = model.log_likelihood(batch.x, [z]).mean()
        divergence = published_subset_divergence(q.scores).mean()
        value = divergence - self.samples * log_likelihood
        metrics = {"published_loss": value / self.samples, "log_likelihood": log_likelihood, "kl": divergence}
        return Loss(value, {name: number.detach() for name, number in metrics.items()})


def published_subset_divergence(scores: Tensor) -> Tensor:
    """``sum_blocks sum_i p_i log(n p_i)`` with ``p = softmax(scores)``: KL of categorical variables from uniform ones.

    Args:
        scores: ``(..., blocks, n)``.

    Returns:
        In nats, ``(...)``.

    Example:
        >>> import torch
        >>> published_subset_divergence(torch.zeros(2, 3, 4))
        tensor([0., 0.])
    """
    log_probs = scores.log_softmax(-1)
    return (log_probs.exp() * (log_probs + math.log(scores.shape[-1]))).sum((-2, -1))


def published_edge_divergence(edges: Tensor, vertices: int) -> Tensor:
    """``2 sum_e [s_e + exp(-s_e) - 1] / n``: KL of Gumbel noise, each edge counted once for each of its directions.

    A graph's noise has one variable for each undirected edge, so this is twice too much, divided by n.

    Args:
        edges: scores s, the means of both directions, ``(..., n (n - 1) / 2)``.
        vertices: n.

    Returns:
        In nats, ``(...)``.
    """
    return 2 * (edges + (-edges).exp() - 1).sum(-1) / vertices


def published_edge_error(error: Tensor, variance: float) -> Tensor:
    """``sum error^2 / (2 variance n)`` of predictions ``(..., T, n, d)``: no constant, and per vertex."""
    return error.square().sum((-3, -2, -1)) / (2 * variance * error.shape[-2])
