"""What training minimises: callables ``(model, batch) -> Loss``."""

from logprob.batch import Batch
from logprob.objectives.base import Loss, Objective
from logprob.objectives.bound import NegativeLikelihoodBound
from logprob.objectives.geco import GECO
from logprob.objectives.likelihood import NegativeLogLikelihood
from logprob.objectives.self_normalizing import SelfNormalizingLikelihood

__all__ = [
    "GECO",
    "Batch",
    "Loss",
    "NegativeLikelihoodBound",
    "NegativeLogLikelihood",
    "Objective",
    "SelfNormalizingLikelihood",
]
