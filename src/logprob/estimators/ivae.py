"""Nonlinear ICA by a variational autoencoder whose prior depends on the segment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from logprob.batch import Batch
from logprob.energy import IVAE as ConditionalAutoencoder
from logprob.energy import AnnealedELBO
from logprob.energy.ivae import Likelihood
from logprob.estimators.base import Array, IdentifiableEstimator
from logprob.estimators.plateau import ReduceOnPlateau
from logprob.estimators.readout import Readout
from logprob.estimators.training import adam, in_chunks, train_copies

DRAWS = 8  # of z for each held-out row, the same for all copies: what they are compared by is less noisy


class IVAE(IdentifiableEstimator):
    """The identifiable VAE: posterior means of latent variables whose prior variances change with the segment.

    ``p(x, z | y) = p(x | z) N(z; 0, diag exp(l(y)))``, trained by its evidence lower bound, see
    :class:`logprob.energy.IVAE`. The posterior ``q(z | x, y)`` knows the segment: give it to ``transform`` if you have
    it. Without, ``transform`` averages the means over ``p(y | x)`` as the model has it, by Laplace's approximation.

    Args:
        n_components: number of latent variables, by default as many as columns.
        hidden: widths of the hidden layers of each network, by default two of twice the number of columns.
        likelihood: of a row given z: ``"normal"``, ``"laplace"``, or ``"bernoulli"`` for values between 0 and 1.
        decoder_variance: variance of each column given z, in the units of X, or of white rows if they are whitened.
        whiten: whiten X first; rows are taken as they are by default, as published.
        readout: ``"raw"``, the means, or ``"ica"``, FastICA of them.
        annealed: weight the parts of the bound along :class:`logprob.energy.AnnealedELBO`.
        decay: of the learning rate: ``"cosine"`` to zero, ``"constant"``, or ``"plateau"``, as published: a tenth when
            the mean training loss of all restarts did not fall for 20 epochs. That one can bring training to a halt
            long before its end.
        restarts: number of copies, trained with the same minibatches.
        held_out: share of rows held out for the selection.
        batch_size: rows of a step.
        steps: number of steps.
        learning_rate: of Adam, at the start.
        random_state: seed or numpy RandomState.
        progress: show a bar, where rich is installed.
        device: where training runs.

    Attributes:
        classes_, history_, held_out_losses_, selected_, model_, whitening_: as in :class:`IdentifiableEstimator`;
            the objective is minus the bound of ``log p(x | y)``, in nats.
        scored_: ``"ivae.mean"`` or ``"FastICA(ivae.mean)"``.

    References:
        Khemakhem, Kingma, Monti and Hyvarinen, "Variational Autoencoders and Nonlinear ICA: A Unifying Framework",
        AISTATS 2020.

    Example:
        >>> rng = np.random.RandomState(0)
        >>> y = np.repeat(np.arange(10), 50)
        >>> X = (rng.randn(500, 2) * np.exp(rng.randn(10, 2))[y]) @ rng.randn(2, 2)
        >>> model = IVAE(restarts=2, steps=50, random_state=0).fit(X, y)
        >>> model.transform(X, y).shape, model.transform(X).shape
        ((500, 2), (500, 2))
    """

    _scored = "ivae.mean"

    def __init__(
        self,
        n_components: int | None = None,
        *,
        hidden: Sequence[int] | None = None,
        likelihood: Likelihood = "normal",
        decoder_variance: float = 0.01,
        whiten: bool = False,
        readout: Literal["raw", "ica"] = "raw",
        annealed: bool = False,
        decay: Literal["cosine", "constant", "plateau"] = "cosine",
        restarts: int = 8,
        held_out: float = 0.1,
        batch_size: int = 256,
        steps: int = 15_000,
        learning_rate: float = 1e-3,
        random_state: Any = None,
        progress: bool = False,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.hidden = hidden
        self.likelihood = likelihood
        self.decoder_variance = decoder_variance
        self.whiten = whiten
        self.readout = readout
        self.annealed = annealed
        self.decay = decay
        self.restarts = restarts
        self.held_out = held_out
        self.batch_size = batch_size
        self.steps = steps
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.progress = progress
        self.device = device

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """The published schedule: one run of 70,000 steps, with the learning rate cut on plateaus.

        Args:
            changes: parameters that are to differ from it.
        """
        return cls(**{"restarts": 1, "steps": 70_000, "decay": "plateau", **changes})

    def transform(self, X: Any, y: Any = None) -> Array:
        """Features ``(N, m)`` of rows, given their segments, or averaged over what the model thinks of those.

        Raises:
            ValueError: for a segment that ``fit`` did not see.
        """
        check_is_fitted(self)
        if y is None:
            return super().transform(X)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=False)
        with torch.no_grad():
            features = self._features(self.model_, Batch(self._white(X), self._encoded(y)))
        return features.numpy().astype(X.dtype)

    def candidates(self, X: Any, y: Any) -> dict[str, Array]:
        """What published scores were the maximum over, ``(N, m)`` each. Such a maximum is chosen by the true sources.

        ``"sample"``, one draw from ``q(z | x, y)``, the same at each call; ``"mean"``, its mean; and ``"ica"``, FastICA
        of the means of these very rows.

        Args:
            X: rows ``(N, D)``.
            y: their segments.

        Raises:
            ValueError: for a segment that ``fit`` did not see.
        """
        check_is_fitted(self)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=False)
        with torch.no_grad():
            mean, log_variance = self.model_.encode(self._white(X).to(self.model_.dtype), self._encoded(y))
        stream = torch.Generator().manual_seed(self._seed)
        noise = torch.randn(mean.shape, generator=stream, dtype=mean.dtype)
        found = {"sample": mean + (log_variance / 2).exp() * noise, "mean": mean}
        found["ica"] = Readout("ica", self._seed).fit(mean).transform(mean)
        return {name: features.numpy().astype(X.dtype) for name, features in found.items()}

    @property
    def _whitens(self) -> bool:  # type: ignore[override]
        return self.whiten

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.readout not in ("raw", "ica"):
            raise ValueError(f"readout must be 'raw' or 'ica', got {self.readout!r}")
        if self.decay not in ("cosine", "constant", "plateau"):
            raise ValueError(f"decay must be 'cosine', 'constant' or 'plateau', got {self.decay!r}")

    def _make(self, train: Batch, classes: int, copies: int) -> ConditionalAutoencoder:
        return ConditionalAutoencoder(
            train.x.shape[-1], classes, self.n_components, self.hidden, copies, self.likelihood, self.decoder_variance
        )

    def _losses(self, model: ConditionalAutoencoder, batch: Batch) -> Tensor:
        return -model.elbo(batch.x, _labels(batch)).mean(-1)

    def _held_out_losses(self, model: ConditionalAutoencoder, held_out: Batch) -> Tensor:
        """Minus the bound at draws that are the same for all copies and at every call."""
        stream, x = torch.Generator().manual_seed(0), held_out.x.to(model.dtype)
        draws = torch.randn(DRAWS, len(x), model.latents, generator=stream).to(x)
        bounds = [model.elbo(x, _labels(held_out), eps).mean(-1) for eps in draws]
        return -torch.stack(bounds).mean(0)

    def _train(self, model: ConditionalAutoencoder, train: Batch, held_out: Batch) -> list[dict[str, Any]]:
        plateau = ReduceOnPlateau(max(1, len(train.x) // self.batch_size)) if self.decay == "plateau" else None
        losses = self._step_losses(model, train)
        return train_copies(
            model.parameters(),
            losses if plateau is None else plateau.watch(losses),
            len(train.x),
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            decay="cosine" if self.decay == "cosine" else "constant",
            optimizer=adam if plateau is None else plateau.adam,
            after_step=None if plateau is None else plateau.after_step,
            held_out=lambda: self._held_out_losses(model, held_out),
            progress=self.progress,
            description=type(self).__name__,
        )

    def _step_losses(self, model: ConditionalAutoencoder, train: Batch) -> Callable[[Tensor], Tensor]:
        if not self.annealed:
            return lambda index: self._losses(model, train.rows(index))
        bound, steps = AnnealedELBO(len(train.x), max(self.steps, 2)), iter(range(self.steps))

        def losses(index: Tensor) -> Tensor:
            batch = train.rows(index)
            return -bound(model, batch.x, _labels(batch), next(steps)).mean(-1)

        return losses

    def _after_fit(self, train: Batch) -> None:
        self.model_.double()  # p(y | x) is as sharp as the decoder, which makes much of single precision's rounding
        counts = _labels(train).bincount(minlength=len(self.classes_))
        self._log_prior = (counts / counts.sum()).log()
        with torch.no_grad():
            means = self.model_.features(train.x.double(), _labels(train))
        # drawn from torch's generator, which holds the seed of this fit
        self._readout = Readout(self.readout, int(torch.randint(2**31 - 1, ()))).fit(means)
        self.scored_ = self._readout.describe(self._scored)
        self._seed = int(torch.randint(2**31 - 1, ()))  # of candidates

    def _features(self, model: ConditionalAutoencoder, batch: Batch) -> Tensor:
        x = batch.x.to(model.dtype)
        with torch.no_grad():
            if batch.context is None:
                means = in_chunks(lambda part: model.marginal_features(part, self._log_prior), x)
            else:
                means = model.features(x, batch.context)
            return self._readout.transform(means)


def _labels(batch: Batch) -> Tensor:
    assert batch.context is not None
    return batch.context
