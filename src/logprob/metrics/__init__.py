"""Numbers that say how good a model is; each is declared with its unit and its direction."""

from logprob.metrics.base import Metric
from logprob.metrics.bound import LikelihoodBound
from logprob.metrics.discrete_bound import DiscreteBound
from logprob.metrics.expected_value import ExpectedValue
from logprob.metrics.latent import EvidenceBounds, RelaxedSamples, VanishingGradients
from logprob.metrics.likelihood import LogLikelihood, log_prob_rows

__all__ = [
    "DiscreteBound",
    "EvidenceBounds",
    "ExpectedValue",
    "LikelihoodBound",
    "LogLikelihood",
    "Metric",
    "RelaxedSamples",
    "VanishingGradients",
    "log_prob_rows",
]
