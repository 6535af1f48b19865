"""Nonlinear ICA by conditional likelihood on an invertible network."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from logprob.batch import Batch
from logprob.energy import InvertibleICA
from logprob.estimators.base import Array, IdentifiableEstimator

BLURRED = 1.5  # one over the share of training in which rows are blurred


class ConditionalFlowICA(IdentifiableEstimator):
    """Sources by maximum likelihood: an invertible network whose latents are zero-mean normal in each segment.

    ``log p(x | y) = log N(f(x); 0, P_y^-1) + log |det df/dx|`` with the precisions of
    :class:`~logprob.energy.InvertibleICA`. ``transform`` returns f, estimates of the sources up to order, sign and
    scale. Where segments differ in variance, two layers recover sources behind one kink almost exactly in seconds;
    behind three kinks gradient descent finds a likelihood far below that of the truth.

    Args:
        n_components: number of leading principal components that the network sees, by default all.
        layers: layers of the network; one more than there are kinks in the mixing is enough.
        base: ``"diagonal"``, sources independent in each segment, or ``"full"``, with a shared part of the precision.
        bias: whether layers have biases; a mixing without them needs none, and ``|f|`` then has the zero of ``|s|``.
        blur: standard deviation of normal noise added to white rows of a step; it falls linearly to zero over the first
            two thirds of training. Meant for deep mixings, where 0.3 was about as good as none.
        restarts: number of copies, trained with the same minibatches.
        held_out: share of rows held out for the selection.
        batch_size: rows of a step.
        steps: number of steps.
        learning_rate: of Adam, falling to zero along a cosine.
        random_state: seed or numpy RandomState.
        progress: show a bar, where rich is installed.
        device: where training runs.

    Attributes:
        classes_, history_, held_out_losses_, selected_, model_, whitening_: as in :class:`IdentifiableEstimator`;
            the loss is the mean negative log-likelihood of white rows, in nats.
        scored_: ``"flow.latent"``.

    References:
        Khemakhem, Monti, Kingma and Hyvarinen, "ICE-BeeM", NeurIPS 2020, for the families of sources; the
        likelihood of an invertible network in their place is a reference of this library.

    Example:
        >>> rng = np.random.RandomState(0)
        >>> y = np.repeat(np.arange(10), 50)
        >>> X = (rng.randn(500, 2) * np.exp(rng.randn(10, 2))[y]) @ rng.randn(2, 2)
        >>> model = ConditionalFlowICA(layers=1, restarts=2, steps=50, random_state=0).fit(X, y)
        >>> model.transform(X).shape, model.log_prob(X, y).shape
        ((500, 2), (500,))
    """

    _scored = "flow.latent"

    def __init__(
        self,
        n_components: int | None = None,
        *,
        layers: int = 2,
        base: Literal["diagonal", "full"] = "diagonal",
        bias: bool = True,
        blur: float = 0.0,
        restarts: int = 4,
        held_out: float = 0.1,
        batch_size: int = 512,
        steps: int = 4000,
        learning_rate: float = 3e-3,
        random_state: Any = None,
        progress: bool = False,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.layers = layers
        self.base = base
        self.bias = bias
        self.blur = blur
        self.restarts = restarts
        self.held_out = held_out
        self.batch_size = batch_size
        self.steps = steps
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.progress = progress
        self.device = device

    def log_prob(self, X: Any, y: Any) -> Array:
        """``log p(x | y)`` of rows, in nats and in the units of X: with the log-determinant of the whitening.

        Raises:
            ValueError: if ``n_components`` drops components: what is left has no density in X.
        """
        check_is_fitted(self)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=False)
        if self.model_.mapping.features < self.n_features_in_:
            raise ValueError(
                f"expected all {self.n_features_in_} components for a density of X, got n_components="
                f"{self.n_components}"
            )
        with torch.no_grad():
            white = self.model_(self._encoded(y)).log_prob(self._white(X))
        values: Array = white.double().numpy() + self.whitening_.log_abs_det
        return values

    def _white_components(self) -> int | None:
        return self.n_components

    def _make(self, train: Batch, classes: int, copies: int) -> InvertibleICA:
        return InvertibleICA(train.x.shape[-1], classes, self.layers, self.base, copies, self.bias)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not self.blur >= 0:
            raise ValueError(f"blur must be at least 0, got {self.blur}")

    def _train(self, model: InvertibleICA, train: Batch, held_out: Batch) -> list[dict[str, Any]]:
        if not self.blur:
            return super()._train(model, train, held_out)
        done = 0

        def losses(index: Tensor) -> Tensor:
            nonlocal done
            width, done = self.blur * max(0.0, 1 - BLURRED * done / self.steps), done + 1
            batch = train.rows(index)
            return self._losses(model, batch._replace(x=batch.x + width * torch.randn_like(batch.x)))

        return self._descend(model, losses, train, held_out)

    def _losses(self, model: InvertibleICA, batch: Batch) -> Tensor:
        return -model(batch.context).log_prob(batch.x).mean(-1)

    def _features(self, model: InvertibleICA, batch: Batch) -> Tensor:
        return model.features(batch.x)
