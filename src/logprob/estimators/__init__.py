"""scikit-learn estimators: fit, transform, score."""

from logprob.estimators.base import IdentifiableEstimator
from logprob.estimators.conditional_flow import ConditionalFlowICA
from logprob.estimators.controls import (
    FastICA,
    RandomFeatures,
    RawFeatures,
    ShuffledLabels,
    Untrained,
    shuffled_labels,
    untrained,
)
from logprob.estimators.ice_beem import ICEBeeM
from logprob.estimators.ivae import IVAE
from logprob.estimators.published import PublishedICEBeeM
from logprob.estimators.published_fce import PublishedSchedule
from logprob.estimators.readout import Readout
from logprob.estimators.tcl import TCL
from logprob.estimators.whitening import Whitening

__all__ = [
    "IVAE",
    "TCL",
    "ConditionalFlowICA",
    "FastICA",
    "ICEBeeM",
    "IdentifiableEstimator",
    "PublishedICEBeeM",
    "PublishedSchedule",
    "RandomFeatures",
    "RawFeatures",
    "Readout",
    "ShuffledLabels",
    "Untrained",
    "Whitening",
    "shuffled_labels",
    "untrained",
]
