"""How an expectation over discrete variables gets its gradient: named, exchangeable estimators.

Every one is called as ``gradient(q, f)``: its value is ``f`` at samples of ``q``, its gradient an estimate of that of
``E_q f``. Those that are relaxations' own, such as REBAR, are in :mod:`logprob.simplex`.
"""

from logprob.gradients.base import CategoricalLaw, GradientEstimator, PathwiseGradient, ScoredLaw
from logprob.gradients.baselines import Baseline, BatchMean, LearnedBaseline, RunningDeviation, RunningMean
from logprob.gradients.control_variate import ControlledScoreFunction
from logprob.gradients.disarm import DisARM
from logprob.gradients.enumeration import Enumeration
from logprob.gradients.reparameterized import Reparameterized
from logprob.gradients.score_function import LeaveOneOut, ScoreFunction
from logprob.gradients.straight_through import StraightThrough, StraightThroughRelaxed

__all__ = [
    "Baseline",
    "BatchMean",
    "CategoricalLaw",
    "ControlledScoreFunction",
    "DisARM",
    "Enumeration",
    "GradientEstimator",
    "LearnedBaseline",
    "LeaveOneOut",
    "PathwiseGradient",
    "Reparameterized",
    "RunningDeviation",
    "RunningMean",
    "ScoreFunction",
    "ScoredLaw",
    "StraightThrough",
    "StraightThroughRelaxed",
]
