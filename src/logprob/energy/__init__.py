"""Energy models of rows given a condition, and the identifiable models beside them."""

from logprob.energy.conditional import ConditionalEnergy, ConditionalEnergyDistribution
from logprob.energy.unconditional import UnconditionalEnergy, UnconditionalEnergyDistribution

__all__ = [
    "ConditionalEnergy",
    "ConditionalEnergyDistribution",
    "UnconditionalEnergy",
    "UnconditionalEnergyDistribution",
]
