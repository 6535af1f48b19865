"""Numbers that say how good a model is; each is declared with its unit and its direction.

Metrics of a run are called as ``metric(model, batch)`` and return names with numbers. Beside them there are functions
of tables: :func:`mcc` compares features with true sources, :func:`weak_mcc` and :func:`representation_pairs` compare
trainings with one another, :func:`cca`, :func:`rdc` and the correlation matrices are what these are made of, and
:func:`seed_interval` says what other seeds would have given.
"""

from logprob.metrics.base import Metric
from logprob.metrics.bound import LikelihoodBound
from logprob.metrics.canonical_correlation import CanonicalCorrelations, cca
from logprob.metrics.contrastive import ContrastiveAccuracy
from logprob.metrics.correlation import pearson_matrix, spearman_matrix
from logprob.metrics.discrete_bound import DiscreteBound
from logprob.metrics.edges import EdgeScores
from logprob.metrics.expected_value import ExpectedValue
from logprob.metrics.gradient_quality import GradientQuality, GradientReport, gradient_report, scores_gradient
from logprob.metrics.intervals import Interval, seed_interval
from logprob.metrics.latent import EvidenceBounds, RelaxedSamples, VanishingGradients
from logprob.metrics.likelihood import LogLikelihood, log_prob_rows
from logprob.metrics.mean_correlation import MCCResult, best_assignment, mcc
from logprob.metrics.paths import PathQuality
from logprob.metrics.permutation_null import Null
from logprob.metrics.randomized_dependence import rdc
from logprob.metrics.recovery import SourceRecovery
from logprob.metrics.representation import Agreement, RepresentationPair, representation_pairs, weak_mcc
from logprob.metrics.score_matching import HeldOutScoreMatching
from logprob.metrics.selection import PredictionError, SubsetPrecision

__all__ = [
    "Agreement",
    "CanonicalCorrelations",
    "ContrastiveAccuracy",
    "DiscreteBound",
    "EdgeScores",
    "EvidenceBounds",
    "ExpectedValue",
    "GradientQuality",
    "GradientReport",
    "HeldOutScoreMatching",
    "Interval",
    "LikelihoodBound",
    "LogLikelihood",
    "MCCResult",
    "Metric",
    "Null",
    "PathQuality",
    "PredictionError",
    "RelaxedSamples",
    "RepresentationPair",
    "SourceRecovery",
    "SubsetPrecision",
    "VanishingGradients",
    "best_assignment",
    "cca",
    "gradient_report",
    "log_prob_rows",
    "mcc",
    "pearson_matrix",
    "rdc",
    "representation_pairs",
    "scores_gradient",
    "seed_interval",
    "spearman_matrix",
    "weak_mcc",
]
