"""Reparameterised laws on the simplex, near one-hot at low temperature, and what is built of them.

- laws: :class:`InvertibleGaussian` (with any transform: :class:`StickBreaking`, :class:`LogStickBreaking`,
  :class:`Planar`), :class:`StickBreakingGaussian`, :class:`Concrete`, :class:`ExpConcrete`
- category probabilities: :func:`category_log_probs`, :func:`solve_loc`, :func:`uniform_loc`
- relaxations of given laws: :func:`approximate` and :mod:`~logprob.simplex.discrete_laws`; :func:`proximity`
- gradients that need a relaxation: :class:`GumbelRao`, :class:`ReinMax`, :class:`REBAR`, :class:`RELAX`
- groups of latent variables, for :class:`~logprob.distributions.LatentVariableModel`
"""

from logprob.simplex import discrete_laws
from logprob.simplex.approximate import ExactConcrete, ExactGaussian, Family, Fit, Matched, approximate
from logprob.simplex.binary_units import BinaryUnits, ConcreteUnits, GaussianUnits, PlanarUnits, StickUnits
from logprob.simplex.category_probs import argmax_log_probs, category_log_probs
from logprob.simplex.certificate import Certificate, total_variation
from logprob.simplex.concrete import Concrete, ExpConcrete
from logprob.simplex.concrete_variables import ConcreteVariables
from logprob.simplex.discrete_laws import DiscreteLaw
from logprob.simplex.from_probs import solve_loc, uniform_loc
from logprob.simplex.gaussian_mixture import DeepGaussianMixture
from logprob.simplex.gumbel_rao import GumbelRao
from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.kumaraswamy import Kumaraswamy
from logprob.simplex.latents import (
    ConcreteLatent,
    InvertibleGaussianLatent,
    PlanarLatent,
    StickBreakingLatent,
    TruncatedStickBreakingLatent,
)
from logprob.simplex.matching import (
    FreeGaussian,
    FreeTruncatedSticks,
    Matching,
    constant,
    falling,
    free_log_sticks,
    free_planar,
    free_sticks,
    relative_entropy,
    squared_error,
)
from logprob.simplex.mean_sticks import mean_sticks, uniform_mean_sticks_loc
from logprob.simplex.mixture_sticks import GaussianSticks, KumaraswamySticks, Sticks
from logprob.simplex.planar import Planar, PlanarLayers
from logprob.simplex.proximity import Proximity, posterior_proximity, proximity, temperature_within
from logprob.simplex.rebar import REBAR
from logprob.simplex.reinmax import ReinMax
from logprob.simplex.relax import RELAX, ControlNetwork
from logprob.simplex.relaxed import RelaxedOneHot
from logprob.simplex.sampled_probs import rao_blackwell_probs
from logprob.simplex.sparsemax import Entmax, entmax, sparsemax
from logprob.simplex.stick_breaking import LogStickBreaking, StickBreaking, log_sticks, sticks
from logprob.simplex.stick_breaking_gaussian import StickBreakingGaussian
from logprob.simplex.stick_noise import StickTail
from logprob.simplex.stochastic_layers import StochasticNetwork
from logprob.simplex.truncation import PerSampleTruncation, QuantileTruncation, Truncation

__all__ = [
    "REBAR",
    "RELAX",
    "BinaryUnits",
    "Certificate",
    "Concrete",
    "ConcreteLatent",
    "ConcreteUnits",
    "ConcreteVariables",
    "ControlNetwork",
    "DeepGaussianMixture",
    "DiscreteLaw",
    "Entmax",
    "ExactConcrete",
    "ExactGaussian",
    "ExpConcrete",
    "Family",
    "Fit",
    "FreeGaussian",
    "FreeTruncatedSticks",
    "GaussianSticks",
    "GaussianUnits",
    "GumbelRao",
    "InvertibleGaussian",
    "InvertibleGaussianLatent",
    "Kumaraswamy",
    "KumaraswamySticks",
    "LogStickBreaking",
    "Matched",
    "Matching",
    "PerSampleTruncation",
    "Planar",
    "PlanarLatent",
    "PlanarLayers",
    "PlanarUnits",
    "Proximity",
    "QuantileTruncation",
    "ReinMax",
    "RelaxedOneHot",
    "StickBreaking",
    "StickBreakingGaussian",
    "StickBreakingLatent",
    "StickTail",
    "StickUnits",
    "Sticks",
    "StochasticNetwork",
    "TruncatedStickBreakingLatent",
    "Truncation",
    "approximate",
    "argmax_log_probs",
    "category_log_probs",
    "constant",
    "discrete_laws",
    "entmax",
    "falling",
    "free_log_sticks",
    "free_planar",
    "free_sticks",
    "log_sticks",
    "mean_sticks",
    "posterior_proximity",
    "proximity",
    "rao_blackwell_probs",
    "relative_entropy",
    "solve_loc",
    "sparsemax",
    "squared_error",
    "sticks",
    "temperature_within",
    "total_variation",
    "uniform_loc",
    "uniform_mean_sticks_loc",
]
