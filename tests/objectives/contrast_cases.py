"""Small energies and noises with known normalisers."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.distributions import Independent, Normal

from logprob.distributions import DistributionModule, UnnormalizedDistribution


class GaussianEnergy(DistributionModule):
    """``u = -sum_i precision_yi x_i^2 / 2 + offset_y``, with free numbers of each label; ``(*copies, N)``."""

    def __init__(self, conditions, features, copies=None, dtype=torch.float32):
        super().__init__()
        lead = () if copies is None else (copies,)
        self.conditions = conditions
        self.log_precision = nn.Parameter(torch.zeros(*lead, conditions, features, dtype=dtype))
        self.offset = nn.Parameter(torch.zeros(*lead, conditions, dtype=dtype))

    def forward(self, context=None):
        return GaussianPotential(self, torch.zeros((), dtype=torch.long) if context is None else context)

    def log_potentials(self, x):
        return self.offset.unsqueeze(-2) - x.square() @ self.log_precision.exp().mT / 2


class GaussianPotential(UnnormalizedDistribution):
    def __init__(self, model, labels):
        self.model, self.labels = model, labels
        super().__init__(validate_args=False)

    def unnormalized_log_prob(self, value):
        potentials = self.model.log_potentials(value)
        index = self.labels.expand(potentials.shape[:-1]).unsqueeze(-1)
        return potentials.gather(-1, index).squeeze(-1)


class LearnedNormal(DistributionModule):
    """``N(loc, diag exp(2 log_scale))``, a flow of one layer."""

    def __init__(self, features, dtype=torch.float32):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(features, dtype=dtype))
        self.log_scale = nn.Parameter(torch.zeros(features, dtype=dtype))

    def forward(self, context=None):
        return Independent(Normal(self.loc.clone(), self.log_scale.exp()), 1)


class LabelledNormal(DistributionModule):
    """``N(0, scale_y^2 I)``."""

    def __init__(self, scales, features):
        super().__init__()
        self.register_buffer("scales", torch.as_tensor(scales))
        self.features = features

    def forward(self, context=None):
        scale = self.scales[context].unsqueeze(-1).expand(-1, self.features)
        return Independent(Normal(torch.zeros_like(scale), scale), 1)


def normal(features, scale=1.0, dtype=torch.float32):
    return Independent(Normal(torch.zeros(features, dtype=dtype), torch.full((features,), scale, dtype=dtype)), 1)


def log_normaliser(precision):
    """Of ``exp(-sum_i precision_i x_i^2 / 2)``."""
    return 0.5 * (math.log(2 * math.pi) - torch.as_tensor(precision).log()).sum(-1)
