"""What the estimators of nonlinear ICA share: checks, a held-out split, batched restarts, selection without truth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from logprob.batch import Batch
from logprob.estimators.training import Losses, in_chunks, lowest, train_copies
from logprob.estimators.whitening import Whitening
from logprob.nn import take_copy

Array = np.ndarray[Any, Any]


class IdentifiableEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Sources of rows that come in labelled segments: ``fit(X, y)``, ``transform(X)``, ``score(X, y)``.

    ``fit`` holds some rows of each segment out, whitens on the others, trains ``restarts`` copies of a model in one
    batch, and keeps the copy with the lowest held-out objective. The true sources are never seen.

    A subclass has an ``__init__`` of its own with the parameters below, and implements ``_make``, ``_losses`` and
    ``_features``; it may replace ``_before_training``, ``_train``, ``_held_out_losses`` and ``_after_fit``. These see
    white rows as :class:`~logprob.batch.Batch`: ``x`` float32 ``(N, D)``, and ``context``, labels int64 ``(N,)`` from
    0 to K-1.

    Parameters of all subclasses:

    Args:
        n_components: number of features, by default as many as columns.
        restarts: number C of copies, trained with the same minibatches.
        held_out: share of rows held out for the selection, between 0 and 1.
        batch_size: rows of a step.
        steps: number of steps.
        learning_rate: of Adam, falling to zero along a cosine.
        random_state: seed or numpy RandomState; the same seed gives the same numbers on the same machine.
        progress: show a bar, where rich is installed.
        device: where training runs; the fitted model is on the CPU.

    Note:
        ``score`` needs every segment in the rows that it was fitted on. For a search over parameters split with
        ``StratifiedKFold(shuffle=True)``: what scikit-learn takes by default cuts sorted rows between segments.

    Attributes:
        classes_: the labels, in the order of their numbers.
        n_features_in_: number of columns of X.
        history_: list of dicts with ``step``, ``losses`` and ``held_out_losses`` of all restarts.
        held_out_losses_: array ``(C,)``.
        selected_: the restart that was kept.
        model_: it, on white rows.
        scored_: what ``transform`` returns.
        whitening_: from X to white rows, or None.
    """

    _whitens = True  # white rows for the model; a subclass may want them as they are
    _scored = "features"

    n_components: int | None
    restarts: int
    held_out: float
    batch_size: int
    steps: int
    learning_rate: float
    random_state: Any
    progress: bool
    device: str
    model_: Any
    whitening_: Any

    # What a subclass says.

    def _make(self, train: Batch, classes: int, copies: int) -> nn.Module:
        """A new stacked model."""
        raise NotImplementedError

    def _losses(self, model: Any, batch: Batch) -> Tensor:
        """The mean loss of each copy over rows, ``(C,)``, or ``()`` of a model without copies."""
        raise NotImplementedError

    def _features(self, model: Any, batch: Batch) -> Tensor:
        """What ``transform`` returns, ``(N, m)``, of a model without copies. ``context`` is None in ``transform``."""
        raise NotImplementedError

    # What it may change.

    def _white_components(self) -> int | None:
        """Number of principal components that the model sees; None for all."""
        return None

    def _before_training(self, train: Batch) -> None:
        """Set what the held-out objective needs, before the first step, and also where no step is taken."""

    def _train(self, model: Any, train: Batch, held_out: Batch) -> list[dict[str, Any]]:
        """Train all copies; return the history."""
        return self._descend(model, lambda index: self._losses(model, train.rows(index)), train, held_out)

    def _descend(
        self, model: Any, losses: Losses, train: Batch, held_out: Batch, description: str | None = None
    ) -> list[dict[str, Any]]:
        """Train all copies by losses of numbers of rows, with the parameters that all subclasses share."""
        return train_copies(
            model.parameters(),
            losses,
            len(train.x),
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            held_out=lambda: self._held_out_losses(model, held_out),
            progress=self.progress,
            description=description or type(self).__name__,
        )

    def _held_out_losses(self, model: Any, held_out: Batch) -> Tensor:
        """The objective by which a copy is selected, ``(C,)`` or ``()``; lower is better. By default the loss."""
        return self._losses(model, held_out)

    def _after_fit(self, train: Batch) -> None:
        """Last touches, such as a linear read-out, on the training rows, on the CPU."""

    # What all share.

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X ``(N, D)`` and their segments y ``(N,)``, integers or strings.

        Raises:
            ValueError: for less than two rows or two segments, NaN or infinity, too few rows to hold one out and keep
                one of each segment, columns that depend on one another, or a parameter out of its range.
        """
        self._check_parameters()
        rows, labels = self._validated(X, y)
        self.scored_ = self._scored
        with seeded(check_random_state(self.random_state).randint(2**31 - 1), self.device):
            train, held_out = self._prepared(rows, labels)
            model = self._make(train, len(self.classes_), self.restarts).to(self.device)
            self._before_training(train)
            self.history_ = self._train(model, train, held_out)
            with torch.no_grad():
                losses = self._held_out_losses(model.eval(), held_out).reshape(-1).cpu()
            self.held_out_losses_ = losses.double().numpy()
            self.selected_ = lowest(losses)
            self.model_ = take_copy(model, self.selected_).cpu().eval()
            on_cpu = Batch(train.x.cpu(), None if train.context is None else train.context.cpu())
            self._after_fit(on_cpu)
            self._n_features_out = self._features(self.model_, on_cpu.rows(slice(2))).shape[-1]
        return self

    def transform(self, X: Any) -> Array:
        """Features ``(N, m)`` of rows."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        features = in_chunks(lambda x: self._features(self.model_, Batch(x)), self._white(X))
        return features.numpy().astype(X.dtype)

    def score(self, X: Any, y: Any) -> float:
        """Minus the objective on other rows: higher is better. It knows nothing of the sources."""
        check_is_fitted(self)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=False)
        with torch.no_grad():
            return -float(self._held_out_losses(self.model_, Batch(self._white(X), self._encoded(y))))

    def _validated(self, X: Any, y: Any) -> tuple[Array, Tensor]:
        """Checked rows in double precision, and numbers of their segments."""
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2)
        check_classification_targets(y)
        self._encoder = LabelEncoder().fit(y)
        self.classes_ = self._encoder.classes_
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} expects at least 2 segments in y, got 1 class: what changes between segments "
                "is all that it learns from"
            )
        return X, self._encoded(y)

    def _encoded(self, y: Any) -> Tensor:
        return torch.from_numpy(self._encoder.transform(y).astype(np.int64))

    def _prepared(self, rows: Array, labels: Tensor) -> tuple[Batch, Batch]:
        """Training and held-out rows, white, on the device."""
        held = held_out_rows(labels, self.held_out)
        x = torch.from_numpy(rows.astype(np.float64))
        self.whitening_ = Whitening(x[~held], self._white_components()) if self._whitens else None
        white = self._white(rows).to(self.device)
        labels, held = labels.to(self.device), held.to(self.device)
        return Batch(white[~held], labels[~held]), Batch(white[held], labels[held])

    def _white(self, rows: Array) -> Tensor:
        """Rows as the model sees them; whitening is done in double precision."""
        x = torch.from_numpy(rows.astype(np.float64))
        return (x if self.whitening_ is None else self.whitening_(x)).float()

    def _check_parameters(self) -> None:
        self._check_counts("restarts", "batch_size", "steps")
        if self.n_components is not None:
            self._check_counts("n_components")
        if not 0 < self.held_out < 1 or not self.learning_rate > 0:
            raise ValueError(
                f"expected 0 < held_out < 1 and learning_rate > 0, got {self.held_out} and {self.learning_rate}"
            )

    def _check_counts(self, *names: str) -> None:
        for name in names:
            count = getattr(self, name)
            if not isinstance(count, Integral) or count < 1:
                raise ValueError(f"{name} must be at least 1 and an integer, got {count!r}")

    def __sklearn_tags__(self) -> Any:
        """It needs y."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def held_out_rows(labels: Tensor, share: float) -> Tensor:
    """Which rows to hold out, bool ``(N,)``: ``share`` of each segment, to within one row, drawn at random.

    Raises:
        ValueError: if no row can be held out with one of each segment kept.

    Example:
        >>> held_out_rows(torch.arange(2).repeat_interleave(50), 0.1).view(2, 50).sum(1)
        tensor([5, 5])
    """
    shuffled = torch.randperm(len(labels))
    by_segment = shuffled[labels[shuffled].argsort(stable=True)]
    steps = (torch.arange(len(labels) + 1) * share).floor().long()
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[by_segment[steps.diff() > 0]] = True
    if not held.any():  # less than 1 / share rows
        held[by_segment[0]] = True
    counts = labels.bincount()
    emptied = (labels.bincount(weights=held.double()) == counts) & (counts > 0)
    held &= ~emptied[labels]
    if not held.any():
        raise ValueError(
            f"expected enough rows to hold one out and keep one of each segment, got {len(labels)} rows (n_samples="
            f"{len(labels)}) in {int((counts > 0).sum())} segments"
        )
    return held


@contextmanager
def seeded(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Torch's random numbers from a seed, with the state of before put back at the end."""
    place = torch.device(device)
    if place.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # not those of devices, whose state is not put back
            yield
    else:
        with torch.random.fork_rng(devices=[place], device_type=place.type):
            torch.manual_seed(seed)
            yield
