"""What training minimises: callables ``(model, batch) -> Loss``."""

from logprob.batch import Batch
from logprob.distributions.score_matching import zero_energy_loss
from logprob.objectives.base import Loss, Objective
from logprob.objectives.bound import NegativeLikelihoodBound
from logprob.objectives.capacity import Capacity, CapacityELBO
from logprob.objectives.divergence import Divergence, divergence
from logprob.objectives.elbo import NegativeELBO
from logprob.objectives.expected_value import ExpectedLoss, SquaredDistance
from logprob.objectives.functions import DistanceToTarget, TanhNetwork
from logprob.objectives.geco import GECO
from logprob.objectives.importance import NegativeIWAE
from logprob.objectives.likelihood import NegativeLogLikelihood
from logprob.objectives.mixture_elbo import NegativeMixtureELBO
from logprob.objectives.published import (
    PublishedSubsetLoss,
    published_edge_divergence,
    published_edge_error,
    published_subset_divergence,
)
from logprob.objectives.score_matching import DenoisingScoreMatching
from logprob.objectives.selection import SelectionLoss
from logprob.objectives.self_normalizing import SelfNormalizingLikelihood
from logprob.objectives.structured import FenchelYoungLoss, MarginalLoss, StructuredLoss

__all__ = [
    "GECO",
    "Batch",
    "Capacity",
    "CapacityELBO",
    "DenoisingScoreMatching",
    "DistanceToTarget",
    "Divergence",
    "ExpectedLoss",
    "FenchelYoungLoss",
    "Loss",
    "MarginalLoss",
    "NegativeELBO",
    "NegativeIWAE",
    "NegativeLikelihoodBound",
    "NegativeLogLikelihood",
    "NegativeMixtureELBO",
    "Objective",
    "PublishedSubsetLoss",
    "SelectionLoss",
    "SelfNormalizingLikelihood",
    "SquaredDistance",
    "StructuredLoss",
    "TanhNetwork",
    "divergence",
    "published_edge_divergence",
    "published_edge_error",
    "published_subset_divergence",
    "zero_energy_loss",
]
