"""A lower bound of the test log-likelihood, on noise that is the same for every model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule


@dataclass(frozen=True)
class LikelihoodBound:
    """Mean lower bound of the log-likelihood of the rows, for models of dequantised data.

    ``log_likelihood_bound`` in nats (higher is better): the mean over rows and draws of
    ``log (1/S) sum_k p(x + u_k) / q(u_k | x)``; ``log_likelihood_bound_se`` its standard error over the rows;
    ``bits_per_dim = -log_likelihood_bound / (D ln 2)`` (lower is better, and an upper bound).

    The noise comes from a generator of its own: it is the same at every call and, where its law is not learned,
    for every model, whatever its type and device and the size of batches.

    Args:
        samples: S, the noise samples inside the logarithm; report it with the number.
        draws: repetitions to average over, which only reduce the noise.
        seed: of the noise.
        batch_size: rows times samples evaluated at once.

    Raises:
        ValueError: if a number is below 1; when called, if the model's distribution has no ``log_prob_bound``.

    Example:
        >>> import torch
        >>> from logprob.flows import DenseFlow, Dequantized, PixelLogits
        >>> model = Dequantized(DenseFlow(4, preprocessing=[PixelLogits(17)]), categories=17)
        >>> sorted(LikelihoodBound(samples=5)(model, Batch(torch.randint(17, (8, 4)))))
        ['bits_per_dim', 'log_likelihood_bound', 'log_likelihood_bound_se']
    """

    samples: int = 1
    draws: int = 1
    seed: int = 0
    batch_size: int = 1024

    def __post_init__(self) -> None:
        for name in ("samples", "draws", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``."""
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            rows = torch.stack([self._rows(model, batch, generator) for _ in range(self.draws)]).mean(0)
        mean = rows.mean().item()
        standard_error = rows.std().item() / math.sqrt(len(rows)) if len(rows) > 1 else math.nan
        return {
            "log_likelihood_bound": mean,
            "log_likelihood_bound_se": standard_error,
            "bits_per_dim": -mean / (batch.x[0].numel() * math.log(2)),
        }

    def _rows(self, model: DistributionModule, batch: Batch, generator: torch.Generator) -> Tensor:
        """One draw of the bound of every row, float64, ``(N,)``."""
        size = max(1, self.batch_size // self.samples)
        shared = model() if batch.context is None else None
        parts = []
        for start in range(0, len(batch.x), size):
            x, context, _ = batch.rows(slice(start, start + size))
            distribution = model(context) if shared is None else shared
            if not hasattr(distribution, "log_prob_bound"):
                raise ValueError(
                    f"{type(model).__name__} has no log_prob_bound; LikelihoodBound is for dequantised flows, "
                    "LogLikelihood for models with an exact log_prob"
                )
            parts.append(distribution.log_prob_bound(x, self.samples, generator).double())
        return torch.cat(parts)
