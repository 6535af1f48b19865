"""What a model hands out: a distribution of one parameter state, and the module that makes it."""

from logprob.distributions.base import DistributionModule, IntractableError, UnnormalizedDistribution

__all__ = ["DistributionModule", "IntractableError", "UnnormalizedDistribution"]
