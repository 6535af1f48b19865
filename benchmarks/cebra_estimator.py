"""CEBRA with the surface of this library's estimators, so that a study can hold it beside them.

`logprob run icebeem/sim/cebra --import cebra_estimator`, run in this folder with the extra `peers`.
"""

from __future__ import annotations

from typing import Any, Self

import cebra
import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin

Array = np.ndarray[Any, Any]


class CEBRAFeatures(TransformerMixin, BaseEstimator):
    """CEBRA with segments as discrete labels; its settings are those of its guide.

    Args:
        steps: its iterations.
        batch_size: rows of a step.
        random_state: seed of torch's random numbers, as it has none of its own.

    References:
        Schneider, Lee and Mathis, "Learnable latent embeddings for joint behavioural and neural analysis", Nature 2023.
    """

    def __init__(self, steps: int = 3000, batch_size: int = 512, random_state: int | None = None) -> None:
        self.steps = steps
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(self, X: Array, y: Array) -> Self:
        """Train it, with as many outputs as there are columns."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state or 0)
            self.model_ = cebra.CEBRA(
                model_architecture="offset1-model",
                output_dimension=X.shape[1],
                max_iterations=self.steps,
                batch_size=self.batch_size,
                device="cpu",
                verbose=False,
            ).fit(X, y)
        self.scored_ = "cebra embedding"
        return self

    def transform(self, X: Array) -> Array:
        """Its embedding of rows, points on a sphere."""
        return np.asarray(self.model_.transform(X))

    def score(self, X: Array, y: Array) -> float:
        """Minus its loss on rows."""
        return -float(cebra.sklearn.metrics.infonce_loss(self.model_, X, y, num_batches=20, correct_by_batchsize=True))
