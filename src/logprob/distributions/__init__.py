"""What a model hands out: a distribution of one parameter state, and the module that makes it."""

from logprob.distributions.base import DistributionModule, IntractableError, UnnormalizedDistribution
from logprob.distributions.decoded import DecodedDistribution, DecodedModel
from logprob.distributions.kl_bound import kl_bound
from logprob.distributions.latent import GaussianLatent, Latent, LatentVariableDistribution, LatentVariableModel
from logprob.distributions.log_ratio import log_ratio
from logprob.distributions.pixels import BernoulliPixels, GaussianPixels, PixelLikelihood
from logprob.distributions.score_matching import denoising_losses, zero_energy_loss
from logprob.distributions.vertices import vertex_distance

__all__ = [
    "BernoulliPixels",
    "DecodedDistribution",
    "DecodedModel",
    "DistributionModule",
    "GaussianLatent",
    "GaussianPixels",
    "IntractableError",
    "Latent",
    "LatentVariableDistribution",
    "LatentVariableModel",
    "PixelLikelihood",
    "UnnormalizedDistribution",
    "denoising_losses",
    "kl_bound",
    "log_ratio",
    "vertex_distance",
    "zero_energy_loss",
]
