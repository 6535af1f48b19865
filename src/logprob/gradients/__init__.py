"""How an expectation over discrete variables gets its gradient: named, exchangeable estimators.

Every one is called as ``gradient(q, f)``: its value is ``f`` at samples of ``q``, its gradient an estimate of that of
``E_q f``.
"""

from logprob.gradients.base import CategoricalLaw, GradientEstimator, PathwiseGradient
from logprob.gradients.reparameterized import Reparameterized

__all__ = ["CategoricalLaw", "GradientEstimator", "PathwiseGradient", "Reparameterized"]
