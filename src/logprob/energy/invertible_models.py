"""Normalised densities on an invertible network: with labels, a rival of energies; without, noise for them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from logprob.distributions import DistributionModule, UnnormalizedDistribution
from logprob.energy.invertible import InvertibleMLP, PiecewiseLinear
from logprob.energy.invertible_sources import PreciseNormal, ScaleMixture
from logprob.energy.labels import check_labels
from logprob.energy.rows import rows_of_copies
from logprob.nn.stacked import copies_shape

_START = 0.1  # of C: small, so that latents start as nearly independent
_NARROW, _WIDE = 0.05, 4.0  # first and last scale at the start, of white rows with heavy tails


class InvertibleDistribution(UnnormalizedDistribution):
    """``log p(x) = log p_sources(f(x)) + log |det df/dx|``, exact.

    Args:
        mapping: f.
        sources: law of ``f(x)``.
        batch_shape: by default that of the sources.
    """

    support = constraints.real_vector

    def __init__(self, mapping: PiecewiseLinear, sources: Any, batch_shape: Any = None) -> None:
        self.mapping, self.sources = mapping, sources
        batch = sources.batch_shape if batch_shape is None else torch.Size(batch_shape)
        super().__init__(batch, sources.event_shape, validate_args=False)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """The exact log-density; it is normalised."""
        z, ladj = self.mapping.forward(value)
        return self.sources.log_prob(z) + ladj

    def score(self, value: Tensor) -> Tensor:
        """``grad_x log p(x)``, ``(*copies, N, D)``; differentiable where gradients are enabled."""
        weight = self.mapping.weight  # (*copies, L, D, D)
        return super().score(rows_of_copies(value, len(weight) if weight.dim() == 4 else None))

    @property
    def log_partition(self) -> Tensor:
        """Zero."""
        return self.mapping.weight.new_zeros(self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Exact log-density, in nats."""
        return self.unnormalized_log_prob(value)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws by the exact inverse."""
        return self.mapping.inverse(self.sources.rsample(sample_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws by the exact inverse, without gradient."""
        with torch.no_grad():
            return self.mapping.inverse(self.sources.sample(sample_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> InvertibleDistribution:
        """The same distribution with a larger batch shape."""
        return InvertibleDistribution(self.mapping, self.sources.expand(batch_shape), batch_shape)


class InvertibleICA(DistributionModule):
    """Conditional likelihood of nonlinear ICA: an invertible network whose latents are zero-mean normal given a label.

    ``log p(x | y) = log N(f(x); 0, P_y^-1) + log |det df/dx|``, in nats. The precision is

    - ``base="diagonal"``: ``diag e^{lambda_y}``: sources independent in each segment (the model of TCL);
    - ``base="full"``: ``C C^T + diag e^{lambda_y}`` with C shared: dependent sources (the model of IMCA).

    The likelihood knows a source through its square only, yet f is smooth, so that f is a source up to sign and scale.

    Args:
        features: number D of dimensions.
        conditions: number K of labels.
        layers: layers of the network. A mixing of L - 1 linear maps and kinks needs L - 1; one more is a linear one.
        base: the family of precisions.
        copies: number C of models side by side, or None.
        bias: as in :class:`InvertibleMLP`.

    Shapes: ``model(labels).log_prob(x)`` of labels ``(N,)`` and rows ``(N, D)`` is ``(*copies, N)``.

    Raises:
        ValueError: for less than one dimension, label, layer or copy, an unknown base; when called, for labels that are
            no integers from 0 to K - 1, one for each row.

    References:
        Hyvarinen and Morioka, "Unsupervised feature extraction by time-contrastive learning and nonlinear ICA",
        NeurIPS 2016; Khemakhem et al., "ICE-BeeM", NeurIPS 2020 (the families of sources).

    Example:
        >>> model = InvertibleICA(3, conditions=4, layers=2, base="full", copies=8)
        >>> x, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 3])
        >>> model(y).log_prob(x).shape, model.features(x).shape
        (torch.Size([8, 5]), torch.Size([8, 5, 3]))
    """

    def __init__(
        self,
        features: int,
        conditions: int,
        layers: int,
        base: Literal["diagonal", "full"] = "diagonal",
        copies: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if conditions < 1 or base not in ("diagonal", "full"):
            raise ValueError(f"expected conditions >= 1 and base diagonal or full, got {conditions} and {base!r}")
        lead = copies_shape(copies)
        self.mapping = InvertibleMLP(features, layers, copies, bias)
        self.conditions, self.copies = conditions, copies
        self.log_precision = nn.Parameter(torch.zeros(*lead, conditions, features))
        shared = _START * torch.eye(features).expand(*lead, features, features).clone()
        self.shared = nn.Parameter(shared) if base == "full" else None

    def forward(self, context: Tensor | None = None) -> InvertibleDistribution:
        """The distribution of rows with labels ``context``, int64 ``(N,)``."""
        labels = check_labels(context, self.conditions)
        shared = None if self.shared is None else self.shared.clone()
        sources = PreciseNormal(self.log_precision.clone(), labels, shared)
        return InvertibleDistribution(self.mapping.map(), sources)

    def features(self, x: Tensor) -> Tensor:
        """Estimates of the sources up to order, sign and scale, ``(*copies, N, D)``."""
        z: Tensor = self.mapping(x)[0]
        return z


class ScaleMixtureFlow(DistributionModule):
    """An invertible network whose latents are independent with heavy tails; it knows no labels.

    Each latent is the same mixture of J zero-mean normals. This is the marginal of sources whose variance changes
    between unknown segments, taken as independent of one another, and so it is noise that is close to the data yet
    cannot tell what a label says: what a conditional energy is contrasted with.

    Args:
        features: number D of dimensions.
        layers: layers of the network.
        scales: number J of normals.
        copies: number C of models side by side, or None.

    Shapes: ``model().log_prob(x)`` of rows ``(N, D)`` is ``(*copies, N)``.

    Raises:
        ValueError: for less than one dimension, layer, scale or copy.

    Example:
        >>> model = ScaleMixtureFlow(3, layers=2)
        >>> model().log_prob(torch.randn(5, 3)).shape, model().sample((7,)).shape
        (torch.Size([5]), torch.Size([7, 3]))
    """

    def __init__(self, features: int, layers: int, scales: int = 8, copies: int | None = None) -> None:
        super().__init__()
        if scales < 1:
            raise ValueError(f"scales must be at least 1, got {scales}")
        lead = copies_shape(copies)
        self.mapping = InvertibleMLP(features, layers, copies)
        self.copies = copies
        self.logits = nn.Parameter(torch.zeros(*lead, scales))
        spread = torch.linspace(0, 1, scales) if scales > 1 else torch.ones(1) / 2
        start = torch.tensor(_NARROW).log() + spread * torch.tensor(_WIDE / _NARROW).log()
        self.log_scale = nn.Parameter(start.expand(*lead, scales).clone())

    def forward(self, context: Tensor | None = None) -> InvertibleDistribution:
        """The distribution of rows; labels given as ``context`` are not looked at."""
        sources = ScaleMixture(self.logits.clone(), self.log_scale.clone(), self.mapping.features)
        return InvertibleDistribution(self.mapping.map(), sources)

    def features(self, x: Tensor) -> Tensor:
        """Latents ``(*copies, N, D)``."""
        z: Tensor = self.mapping(x)[0]
        return z
