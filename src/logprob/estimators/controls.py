"""What every score is to be printed beside: methods that learn nothing, or nothing from the segments."""

from __future__ import annotations

import types
import warnings
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.decomposition import FastICA as LinearICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from logprob.batch import Batch
from logprob.estimators.base import Array, IdentifiableEstimator
from logprob.nn import StackedMLP

FLOATS = (np.float64, np.float32)


class FastICA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Linear independent component analysis of the rows as they are: no segments, no network, no training.

    On published benchmarks of nonlinear ICA it scores as well as the methods that they were made for, as their mixing
    is close to linear: a table without this row says little. ``score`` is a mean log-likelihood in nats,
    ``log |det W| + sum_i log p(w_i x)`` with ``p(s) = sech(pi s / 2) / 2``, which has variance one.

    Args:
        n_components: number of components, by default as many as columns.
        random_state: seed or numpy RandomState.

    Attributes:
        n_features_in_: number of columns of X.
        scored_: ``"FastICA(x)"``.

    References:
        Hyvarinen, "Fast and Robust Fixed-Point Algorithms for Independent Component Analysis", IEEE Transactions on
        Neural Networks, 1999.

    Example:
        >>> X = np.random.RandomState(0).laplace(size=(500, 2)) @ np.array([[1.0, 0.5], [0.0, 1.0]])
        >>> FastICA(random_state=0).fit(X).transform(X).shape
        (500, 2)
    """

    def __init__(self, n_components: int | None = None, *, random_state: Any = None) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the components of rows; ``y`` is not looked at.

        Raises:
            ValueError: for less than two rows, NaN or infinity, or columns that depend on one another.
        """
        X = validate_data(self, X, dtype=FLOATS, ensure_min_samples=2)
        rank, wanted = np.linalg.matrix_rank(X - X.mean(0)), min(self.n_components or X.shape[1], *X.shape)
        if rank < wanted:
            raise ValueError(
                f"expected columns of X without linear dependence, got rank {rank} for {wanted} components of "
                f"{len(X)} rows; take fewer n_components or drop columns"
            )
        self.ica_ = LinearICA(self.n_components, whiten="unit-variance", random_state=self.random_state)
        with warnings.catch_warnings():  # a control is taken as it comes
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.ica_.fit(X)
        self._n_features_out = len(self.ica_.components_)
        self.scored_ = "FastICA(x)"
        return self

    def transform(self, X: Any) -> Array:
        """Components ``(N, m)`` of rows."""
        check_is_fitted(self)
        components: Array = self.ica_.transform(validate_data(self, X, dtype=FLOATS, reset=False))
        return components

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood of rows in nats, of their principal components if some were dropped."""
        components = np.abs(self.transform(X))
        log_cosh = np.logaddexp(np.pi * components / 2, -np.pi * components / 2) - np.log(2)
        log_det = np.log(np.linalg.svd(self.ica_.components_, compute_uv=False)).sum()
        return float(log_det - (log_cosh + np.log(2)).sum(1).mean())


class RawFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The rows themselves.

    Attributes:
        n_features_in_: number of columns of X.
        scored_: ``"x"``.

    Example:
        >>> RawFeatures().fit_transform([[1.0, 2.0], [3.0, 4.0]])
        array([[1., 2.],
               [3., 4.]])
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Remember the number of columns."""
        self._n_features_out = validate_data(self, X, dtype=FLOATS).shape[1]
        self.scored_ = "x"
        return self

    def transform(self, X: Any) -> Array:
        """A copy of the rows."""
        check_is_fitted(self)
        rows: Array = validate_data(self, X, dtype=FLOATS, reset=False, copy=True)
        return rows


class RandomFeatures(IdentifiableEstimator):
    """A maxout network that nobody trained, on white rows: what an architecture gives for nothing.

    To leave an estimator of your own untrained, with its network and its read-out, see :func:`untrained`.

    Args:
        n_components: number of features, by default as many as columns.
        hidden: widths of the maxout layers.
        random_state: seed or numpy RandomState.

    Attributes:
        classes_, model_, whitening_: as in :class:`IdentifiableEstimator`, rows held out included; ``score`` is 0.
        scored_: ``"random.f"``.

    Example:
        >>> X, y = np.random.RandomState(0).randn(50, 3), np.arange(50) % 2
        >>> RandomFeatures(random_state=0).fit(X, y).transform(X).shape
        (50, 3)
    """

    _scored = "random.f"
    restarts, held_out, batch_size, steps, learning_rate, progress, device = 1, 0.1, 1, 1, 1.0, False, "cpu"

    def __init__(
        self, n_components: int | None = None, *, hidden: tuple[int, ...] = (20,), random_state: Any = None
    ) -> None:
        self.n_components = n_components
        self.hidden = hidden
        self.random_state = random_state

    def _make(self, train: Batch, classes: int, copies: int) -> StackedMLP:
        columns = train.x.shape[-1]
        return StackedMLP(columns, self.n_components or columns, self.hidden, "maxout", copies)

    def _train(self, model: Any, train: Batch, held_out: Batch) -> list[dict[str, Any]]:
        return []

    def _losses(self, model: Any, batch: Batch) -> Tensor:
        return torch.zeros(1)

    def _features(self, model: StackedMLP, batch: Batch) -> Tensor:
        features: Tensor = model.double()(batch.x.double())
        return features


class _Control(TransformerMixin, BaseEstimator):
    """An estimator that is fitted in another way; afterwards it is asked as it would be."""

    _prefix = ""

    def __init__(self, estimator: TransformerMixin, *, random_state: Any = None) -> None:
        self.estimator = estimator
        self.random_state = random_state

    def _clone(self) -> Any:
        """The estimator anew, with the seed of here if it has none."""
        alone = clone(self.estimator)
        if self.random_state is not None and alone.get_params().get("random_state", 0) is None:
            alone.set_params(random_state=self.random_state)
        return alone

    def _adopt(self, fitted: Any) -> Self:
        self.estimator_ = fitted
        self.scored_ = f"{fitted.scored_}, {self._prefix}"
        for name in ("classes_", "n_features_in_", "history_", "held_out_losses_", "selected_", "model_"):
            if hasattr(fitted, name):
                setattr(self, name, getattr(fitted, name))
        return self

    def transform(self, X: Any, *labels: Any) -> Array:
        """What the estimator makes of rows, and of labels if it takes them."""
        check_is_fitted(self)
        features: Array = self.estimator_.transform(X, *labels)
        return features

    def score(self, X: Any, y: Any) -> float:
        """The estimator's score with the true labels."""
        check_is_fitted(self)
        return float(self.estimator_.score(X, y))

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """The estimator's."""
        check_is_fitted(self)
        names: Array = self.estimator_.get_feature_names_out(input_features)
        return names

    def __sklearn_tags__(self) -> Any:
        """Those of the estimator that need labels."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class ShuffledLabels(_Control):
    """An estimator whose labels were shuffled before ``fit``: all that it finds, it finds without the segments.

    Args:
        estimator: it is cloned, not changed.
        random_state: of the shuffle, and of the estimator unless it has its own.

    Attributes:
        estimator_: the fitted clone; its attributes are here, too.
        scored_: that of the clone, with ``", labels shuffled"``.

    Example:
        >>> X, y = np.random.RandomState(0).randn(50, 3), np.arange(50) % 2
        >>> ShuffledLabels(FastICA(random_state=0), random_state=0).fit(X, y).scored_
        'FastICA(x), labels shuffled'
    """

    _prefix = "labels shuffled"

    def fit(self, X: Any, y: Any) -> Self:
        """Fit a clone with each row under the label of another."""
        if y is None:
            raise ValueError("ShuffledLabels requires y to be passed, but the target y is None")
        shuffled = check_random_state(self.random_state).permutation(np.asarray(y))
        return self._adopt(self._clone().fit(X, shuffled))


class Untrained(_Control):
    """An :class:`IdentifiableEstimator` that takes no step: its start, whitening, selection and read-out.

    Args:
        estimator: it is cloned, not changed.
        random_state: of the estimator, unless it has its own.

    Attributes:
        estimator_: the fitted clone; its attributes are here, too.
        scored_: that of the clone, with ``", untrained"``.

    Raises:
        TypeError: by ``fit``, if the estimator has no training that can be left out, as :class:`PublishedICEBeeM`.

    Example:
        >>> X, y = np.random.RandomState(0).randn(50, 3), np.arange(50) % 2
        >>> Untrained(RandomFeatures(random_state=0)).fit(X, y).scored_
        'random.f, untrained'
    """

    _prefix = "untrained"

    def fit(self, X: Any, y: Any) -> Self:
        """Fit a clone without its training."""
        if not isinstance(self.estimator, IdentifiableEstimator):
            raise TypeError(f"expected an IdentifiableEstimator, got {type(self.estimator).__name__}")
        if type(self.estimator).fit is not IdentifiableEstimator.fit:
            raise TypeError(f"the training of {type(self.estimator).__name__} is part of its fit, not to be left out")
        alone = self._clone()
        alone._train = types.MethodType(_no_training, alone)
        fitted = alone.fit(X, y)
        del alone._train  # it would not be pickled
        return self._adopt(fitted)


def _no_training(self: Any, model: Any, train: Batch, held_out: Batch) -> list[dict[str, Any]]:
    return []


def shuffled_labels(estimator: Any, random_state: Any = None) -> ShuffledLabels:
    """The control of an estimator by shuffled labels, see :class:`ShuffledLabels`.

    Args:
        estimator: it is cloned, not changed.
        random_state: of the shuffle.

    Example:
        >>> shuffled_labels(FastICA(), random_state=0)
        ShuffledLabels(estimator=FastICA(), random_state=0)
    """
    return ShuffledLabels(estimator, random_state=random_state)


def untrained(estimator: IdentifiableEstimator) -> Untrained:
    """The control of an estimator by no training, see :class:`Untrained`.

    Args:
        estimator: it is cloned, not changed.

    Example:
        >>> untrained(RandomFeatures())
        Untrained(estimator=RandomFeatures())
    """
    return Untrained(estimator)
