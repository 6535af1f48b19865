"""scikit-learn estimators: fit, transform, score."""

from logprob.estimators.base import IdentifiableEstimator
from logprob.estimators.conditional_flow import ConditionalFlowICA
from logprob.estimators.readout import Readout
from logprob.estimators.whitening import Whitening

__all__ = [
    "ConditionalFlowICA",
    "IdentifiableEstimator",
    "Readout",
    "Whitening",
]
