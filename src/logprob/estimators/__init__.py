"""scikit-learn estimators of the sources behind rows in labelled segments: ``fit(X, y)``, ``transform``, ``score``.

- methods: :class:`ICEBeeM` (a conditional energy), :class:`ConditionalFlowICA` (exact likelihood), :class:`IVAE`,
  :class:`TCL`
- controls, to print beside every score: :class:`FastICA`, :class:`RawFeatures`, :class:`RandomFeatures`,
  :func:`shuffled_labels`, :func:`untrained`
- the published simulations, with what they scored: :class:`PublishedICEBeeM`, :class:`PublishedSchedule`

``score`` is minus a held-out objective. No estimator ever sees sources: restarts, too, are chosen by rows held out.
They need scikit-learn, which ``import logprob`` does not load.
"""

from logprob.estimators import requirement  # noqa: F401  (first: it says what to install)
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
