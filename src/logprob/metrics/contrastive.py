"""How well an energy tells held-out rows from noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.distributions.contrast_report import contrast_report
from logprob.distributions.label_law import LabelLaw, LabelRule, check_rule
from logprob.distributions.noise_rows import ContrastRows, Noise, seeded


@dataclass(frozen=True)
class ContrastiveAccuracy:
    """Loss and accuracies of an energy against its noise on rows that were not trained on.

    ``contrastive_loss`` in nats (lower is better), ``contrastive_accuracy`` (balanced, labels known; 1/2 is chance, but
    labels alone tell more), ``marginal_accuracy`` (balanced, labels summed out; 1/2 says that the noise is the law of
    the rows, or that the energy has learned nothing). Means over the copies of the model. Losses compare models that
    share the noise only.

    Args:
        noise: module that makes the noise; None takes that of the model, a pair of ``energy`` and ``noise``.
        ratio: rows of noise for a row of data, as in training.
        labels: how labels of noise are drawn, ``"frequencies"`` or ``"uniform"``.
        given_labels: whether the noise is a module called with the labels.
        tilted: whether the energy is relative to the noise; a pair says it itself.
        noise_rows: rows of noise, however many the data are.
        seed: of these rows; the same ones at every evaluation of the same noise.

    Raises:
        ValueError: if a number is out of its range; when called, if there is no noise.
    """

    noise: DistributionModule | None = None
    ratio: int = 1
    labels: LabelRule = "frequencies"
    given_labels: bool = False
    tilted: bool = False
    noise_rows: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_rule(self.labels)
        if self.ratio < 1 or self.noise_rows < 1:
            raise ValueError(f"ratio and noise_rows must be at least 1, got {self.ratio} and {self.noise_rows}")

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``; what the rows have as a target is not used."""
        source = getattr(model, "noise", None) if self.noise is None else self.noise
        energy: Any = model if self.noise is not None else getattr(model, "energy", model)
        if source is None:
            raise ValueError("expected a noise, or a model that is a pair of an energy and a noise, got neither")
        tilted = self.tilted or (self.noise is None and bool(getattr(model, "tilted", False)))
        noise = Noise(source, self.given_labels)
        conditions = getattr(energy, "conditions", None)
        law = None if batch.context is None else LabelLaw(batch.context, conditions, self.labels)
        log_q = None if tilted else noise.log_prob(batch.x, batch.context)
        with seeded(self.seed):
            labels = None if law is None else law.draw(self.noise_rows)
            rows = noise.draw(self.noise_rows, batch.x, labels, with_log_q=not tilted)
        report = contrast_report(energy, ContrastRows(batch.x, batch.context, log_q), rows, law, self.ratio, tilted)
        return {
            "contrastive_loss": report.loss.mean().item(),
            "contrastive_accuracy": report.accuracy.mean().item(),
            "marginal_accuracy": report.marginal_accuracy.mean().item(),
        }
