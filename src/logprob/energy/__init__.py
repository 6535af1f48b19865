"""Energy models of rows given a condition, and the identifiable models beside them.

u is an unnormalised log-probability everywhere, ``log p(x | y) = u(x, y) - log Z(y)``; conditions are integer labels.

- energies: :class:`ConditionalEnergy` and, without labels, :class:`UnconditionalEnergy`; :class:`ScoreNetwork`, which
  has a score and no density
- an energy beside the noise that it is told from: :class:`ContrastivePair`, :class:`TiltedDistribution`
- exact likelihoods on an :class:`InvertibleMLP`: :class:`InvertibleICA` given labels, :class:`ScaleMixtureFlow`
  without them
- rivals: :class:`IVAE`, a variational autoencoder, with :class:`AnnealedELBO`; :class:`TCL`, a classifier of segments

Models of vectors take ``copies``: restarts or seeds, trained side by side. Their objectives are in
:mod:`logprob.objectives`; :mod:`logprob.estimators` has them ready to fit.
"""

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
