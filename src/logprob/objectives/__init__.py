"""What training minimises: callables ``(model, batch) -> Loss``."""

from logprob.batch import Batch
from logprob.objectives.base import Loss, Objective
from logprob.objectives.likelihood import NegativeLogLikelihood

__all__ = ["Batch", "Loss", "NegativeLogLikelihood", "Objective"]
