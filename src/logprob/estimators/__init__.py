"""scikit-learn estimators: fit, transform, score."""

from logprob.estimators.base import IdentifiableEstimator
from logprob.estimators.readout import Readout
from logprob.estimators.whitening import Whitening

__all__ = [
    "IdentifiableEstimator",
    "Readout",
    "Whitening",
]
