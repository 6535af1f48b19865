"""Energy models of rows given a condition, and the identifiable models beside them."""

from logprob.energy.conditional import ConditionalEnergy, ConditionalEnergyDistribution
from logprob.energy.invertible import InvertibleMLP
from logprob.energy.invertible_models import InvertibleDistribution, InvertibleICA, ScaleMixtureFlow
from logprob.energy.ivae import IVAE, IVAEDistribution
from logprob.energy.ivae_annealing import AnnealedELBO
from logprob.energy.pair import ContrastivePair, TiltedDistribution
from logprob.energy.score_network import ScoreNetwork, ScoreNetworkDistribution
from logprob.energy.tcl import TCL
from logprob.energy.unconditional import UnconditionalEnergy, UnconditionalEnergyDistribution

__all__ = [
    "IVAE",
    "TCL",
    "AnnealedELBO",
    "ConditionalEnergy",
    "ConditionalEnergyDistribution",
    "ContrastivePair",
    "IVAEDistribution",
    "InvertibleDistribution",
    "InvertibleICA",
    "InvertibleMLP",
    "ScaleMixtureFlow",
    "ScoreNetwork",
    "ScoreNetworkDistribution",
    "TiltedDistribution",
    "UnconditionalEnergy",
    "UnconditionalEnergyDistribution",
]
