"""Numbers that say how good a model is; each is declared with its unit and its direction."""

from logprob.metrics.base import Metric
from logprob.metrics.bound import LikelihoodBound
from logprob.metrics.likelihood import LogLikelihood, log_prob_rows

__all__ = ["LikelihoodBound", "LogLikelihood", "Metric", "log_prob_rows"]
