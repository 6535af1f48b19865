"""Squared and monotonic probabilistic circuits: exact normaliser, marginals and missing values."""

from logprob.circuits.bspline import BSpline
from logprob.circuits.circuit import Circuit
from logprob.circuits.discrete import Binomial, Categorical
from logprob.circuits.distribution import CircuitDistribution, Marginal
from logprob.circuits.gaussian import Gaussian
from logprob.circuits.initializers import Dirichlet, Initializer, LogNormal, Normal, Uniform
from logprob.circuits.inputs import InputFamily
from logprob.circuits.region_graph import RegionGraph, linear_tree, quad_tree, random_binary_tree

__all__ = [
    "BSpline",
    "Binomial",
    "Categorical",
    "Circuit",
    "CircuitDistribution",
    "Dirichlet",
    "Gaussian",
    "Initializer",
    "InputFamily",
    "LogNormal",
    "Marginal",
    "Normal",
    "RegionGraph",
    "Uniform",
    "linear_tree",
    "quad_tree",
    "random_binary_tree",
]
