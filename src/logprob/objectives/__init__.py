"""What training minimises: callables ``(model, batch) -> Loss``."""

from logprob.batch import Batch
from logprob.distributions.contrast import contrastive_loss
from logprob.distributions.score_matching import zero_energy_loss
from logprob.objectives.adversarial_smoothness import AdversarialSmoothness
from logprob.objectives.alternation import Alternation
from logprob.objectives.base import Loss, Objective
from logprob.objectives.bound import NegativeLikelihoodBound
from logprob.objectives.capacity import Capacity, CapacityELBO
from logprob.objectives.contrastive import NoiseContrastive
from logprob.objectives.divergence import Divergence, divergence
from logprob.objectives.elbo import NegativeELBO
from logprob.objectives.expected_value import ExpectedLoss, SquaredDistance
from logprob.objectives.flow_contrastive import FlowContrastive
from logprob.objectives.functions import DistanceToTarget, TanhNetwork
from logprob.objectives.geco import GECO
from logprob.objectives.importance import NegativeIWAE
from logprob.objectives.likelihood import NegativeLogLikelihood
from logprob.objectives.mixture_elbo import NegativeMixtureELBO
from logprob.objectives.noise_likelihood import NoiseLikelihood
from logprob.objectives.published import (
    PublishedSubsetLoss,
    published_edge_divergence,
    published_edge_error,
    published_subset_divergence,
)
from logprob.objectives.ranking import ranking_loss, wrong_label_loss
from logprob.objectives.score_matching import DenoisingScoreMatching
from logprob.objectives.selection import SelectionLoss
from logprob.objectives.self_normalizing import SelfNormalizingLikelihood
from logprob.objectives.sliced import SlicedScoreMatching
from logprob.objectives.structured import FenchelYoungLoss, MarginalLoss, StructuredLoss

__all__ = [
    "GECO",
    "AdversarialSmoothness",
    "Alternation",
    "Batch",
    "Capacity",
    "CapacityELBO",
    "DenoisingScoreMatching",
    "DistanceToTarget",
    "Divergence",
    "ExpectedLoss",
    "FenchelYoungLoss",
    "FlowContrastive",
    "Loss",
    "MarginalLoss",
    "NegativeELBO",
    "NegativeIWAE",
    "NegativeLikelihoodBound",
    "NegativeLogLikelihood",
    "NegativeMixtureELBO",
    "NoiseContrastive",
    "NoiseLikelihood",
    "Objective",
    "PublishedSubsetLoss",
    "SelectionLoss",
    "SelfNormalizingLikelihood",
    "SlicedScoreMatching",
    "SquaredDistance",
    "StructuredLoss",
    "TanhNetwork",
    "contrastive_loss",
    "divergence",
    "published_edge_divergence",
    "published_edge_error",
    "published_subset_divergence",
    "ranking_loss",
    "wrong_label_loss",
    "zero_energy_loss",
]
