"""Nonlinear ICA by telling segments apart."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from logprob.batch import Batch
from logprob.energy import TCL as ContrastiveNetwork
from logprob.energy.tcl import picked_log_probs
from logprob.estimators.averaging import MovingAverage
from logprob.estimators.base import IdentifiableEstimator
from logprob.estimators.readout import Readout
from logprob.estimators.training import train_copies


class TCL(IdentifiableEstimator):
    """Time-contrastive learning: features of a classifier of segments, made independent by FastICA.

    A maxout network with absolute values at its end is trained to tell the segments of white rows apart, by stochastic
    gradient descent with momentum: its softmax layer alone first, then all of it. Where the variances of sources
    change between segments, ``transform`` estimates ``|s|`` or ``s^2``, up to order, sign and scale: signs of sources
    are not learned. A single run is a lottery; of eight, the held-out cross entropy picks a good one.

    Args:
        n_components: number of features, by default as many as columns; fewer also drop principal components.
        layers: linear layers of the network; as many as the mixing has.
        hidden: width of its maxout layers, by default twice the number of columns.
        readout: ``"ica"`` (FastICA of the features) or ``"raw"``.
        restarts: number of copies, trained with the same minibatches.
        held_out: share of rows held out for the selection.
        batch_size: rows of a step.
        head_steps: steps of the first phase; 0 leaves it out.
        steps: steps of the second phase.
        learning_rate: of both phases, constant.
        momentum: of both.
        weight_decay: factor of half the squared weights, not biases, in the loss.
        average: decay of a moving average of the parameters that is evaluated in their place, or None.
        random_state: seed or numpy RandomState.
        progress: show a bar, where rich is installed.
        device: where training runs.

    Attributes:
        classes_, history_, held_out_losses_, selected_, model_, whitening_: as in :class:`IdentifiableEstimator`;
            the held-out objective is the cross entropy, in nats.
        scored_: ``"FastICA(tcl.features)"`` or ``"tcl.features"``.

    References:
        Hyvarinen and Morioka, "Unsupervised Feature Extraction by Time-Contrastive Learning and Nonlinear ICA",
        NeurIPS 2016.

    Example:
        >>> import numpy as np
        >>> rng = np.random.RandomState(0)
        >>> y = np.repeat(np.arange(10), 50)
        >>> X = (rng.randn(500, 2) * np.exp(rng.randn(10, 2))[y]) @ rng.randn(2, 2)
        >>> model = TCL(layers=1, restarts=2, head_steps=20, steps=50, random_state=0).fit(X, y)
        >>> model.transform(X).shape, model.scored_
        ((500, 2), 'FastICA(tcl.features)')
    """

    _scored = "tcl.features"

    def __init__(
        self,
        n_components: int | None = None,
        *,
        layers: int = 2,
        hidden: int | None = None,
        readout: Literal["ica", "raw"] = "ica",
        restarts: int = 8,
        held_out: float = 0.2,
        batch_size: int = 512,
        head_steps: int = 1500,
        steps: int = 8000,
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        average: float | None = None,
        random_state: Any = None,
        progress: bool = False,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.layers = layers
        self.hidden = hidden
        self.readout = readout
        self.restarts = restarts
        self.held_out = held_out
        self.batch_size = batch_size
        self.head_steps = head_steps
        self.steps = steps
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.average = average
        self.random_state = random_state
        self.progress = progress
        self.device = device

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """The published schedule: one run of 10,000 + 20,000 steps, evaluated with an average of decay 0.9999.

        Args:
            changes: parameters that are to differ from it.
        """
        return cls(**{"restarts": 1, "head_steps": 10_000, "steps": 20_000, "average": 0.9999, **changes})

    def _check_parameters(self) -> None:
        super()._check_parameters()
        Readout(self.readout)
        if self.readout not in ("ica", "raw"):
            raise ValueError(f"readout must be 'ica' or 'raw', got {self.readout!r}: features are not negative")
        if self.head_steps < 0 or not 0 <= self.momentum < 1:
            raise ValueError(f"expected head_steps >= 0, 0 <= momentum < 1, got {self.head_steps}, {self.momentum}")

    def _white_components(self) -> int | None:
        return None if self.n_components is None else min(self.n_components, self.n_features_in_)

    def _make(self, train: Batch, classes: int, copies: int) -> ContrastiveNetwork:
        return ContrastiveNetwork(
            train.x.shape[-1], classes, self.layers, self.hidden, self.n_components, self.weight_decay, copies
        )

    def _losses(self, model: ContrastiveNetwork, batch: Batch) -> Tensor:
        """Cross entropy; the optimiser decays the weights."""
        return -model.log_prob(batch.x, _labels(batch)).mean(-1)

    def _held_out_losses(self, model: ContrastiveNetwork, held_out: Batch) -> Tensor:
        return self._losses(model, held_out._replace(x=held_out.x.to(model.head.weight.dtype)))

    def _train(self, model: ContrastiveNetwork, train: Batch, held_out: Batch) -> list[dict[str, Any]]:
        """First the softmax layer on the features of the start, then everything."""
        average = None if self.average is None else MovingAverage(list(model.parameters()), self.average)
        history: list[dict[str, Any]] = []
        for steps, part in ((self.head_steps, model.head), (self.steps, model)):
            if steps:
                before = history[-1]["step"] if history else 0
                records = self._train_part(model, part, steps, before, train, held_out, average)
                history += [{**record, "step": record["step"] + before} for record in records]
        if average is not None:
            average.copy_to_parameters()
        return history

    def _train_part(
        self,
        model: ContrastiveNetwork,
        part: nn.Module,
        steps: int,
        before: int,
        train: Batch,
        held_out: Batch,
        average: MovingAverage | None,
    ) -> list[dict[str, Any]]:
        losses = partial(self._head_losses, model, self._fixed_features(model, train), _labels(train))
        return train_copies(
            part.parameters(),
            losses if part is model.head else lambda index: self._losses(model, train.rows(index)),
            len(train.x),
            steps=steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            decay="constant",
            optimizer=self._descent,
            held_out=lambda: self._held_out_losses(model, held_out),
            after_step=None if average is None else lambda step: average.update(before + step),
            progress=self.progress,
            description=type(self).__name__,
        )

    def _descent(self, parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [
            {"params": [value for value in parameters if value.dim() == 3], "weight_decay": self.weight_decay},
            {"params": [value for value in parameters if value.dim() < 3]},  # biases, (C, outputs)
        ]
        return torch.optim.SGD(groups, lr=learning_rate, momentum=self.momentum, fused=True)

    @torch.no_grad()
    def _fixed_features(self, model: ContrastiveNetwork, train: Batch) -> Tensor:
        return model.features(train.x)  # (C, N, m)

    def _head_losses(self, model: ContrastiveNetwork, features: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        return -picked_log_probs(model.head(features[:, index]), labels[index]).mean(-1)

    def _after_fit(self, train: Batch) -> None:
        self.model_.double()  # FastICA works in double precision; so a row is read alike whichever rows are beside it
        with torch.no_grad():
            features = self.model_.features(train.x.double())
        # drawn from torch's generator, which holds the seed of this fit
        self._readout = Readout(self.readout, int(torch.randint(2**31 - 1, ()))).fit(features)
        self.scored_ = self._readout.describe(self._scored)

    def _features(self, model: ContrastiveNetwork, batch: Batch) -> Tensor:
        with torch.no_grad():
            return self._readout.transform(model.features(batch.x.to(model.head.weight.dtype)))


def _labels(batch: Batch) -> Tensor:
    assert batch.context is not None
    return batch.context
