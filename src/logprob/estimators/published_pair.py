"""The energy and the flow of a published experiment on identifiable energies."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from logprob.energy import ConditionalEnergy
from logprob.energy.conditional import Squares
from logprob.flows import ActNorm, Autoregressive, Flow, FlowLayer, LULinear, PublishedSplineMap, StandardLogistic
from logprob.nn import BatchNormMLP, SeparateMLPs

NORMALISER = -5.0
"""Where the one log-normaliser of all conditions starts."""


class PublishedPair(nn.Module):
    """A conditional energy and the flow that makes its noise.

    Args:
        energy: with one log-norm for all conditions; its labels start at 1, the log-norm at -5.
        flow: the noise.
    """

    def __init__(self, energy: ConditionalEnergy, flow: Flow) -> None:
        super().__init__()
        if energy.offset is None or energy.labels is None:
            raise ValueError('expected an energy with log_norm="shared" and the linear term')
        self.energy, self.flow = energy, flow
        nn.init.ones_(energy.labels)
        nn.init.constant_(energy.offset, NORMALISER)

    def latents(self, x: Tensor) -> Tensor:
        """The flow's latents of rows, ``(N, D)``: what the published scores are of."""
        return self.flow.encode(x)[0]

    def features(self, x: Tensor) -> Tensor:
        """f of the energy, ``(N, m)``: what the published scores are said to be of."""
        return self.energy.features(x)

    def log_noise(self, x: Tensor) -> Tensor:
        """Log-density of rows under the flow, in nats, ``(N,)``."""
        z, ladj = self.flow.encode(x)
        return self.flow.base().log_prob(z) + ladj

    def log_potentials(self, features: Tensor, labels: Tensor, squares: bool = True) -> Tensor:
        """u of rows with features f and labels ``0..K``; K stands for all conditions alike, ``(N,)``.

        ``u(x, K)`` is the mean of ``u(x, y)`` over y, the logarithm of a geometric mean of densities.
        """
        linear, quadratic = self.energy.coefficients()
        slope = F.embedding(labels, _with_mean(linear))
        if squares and quadratic is not None:
            slope = slope + features * F.embedding(labels, _with_mean(quadratic))
        assert self.energy.offset is not None
        return (features * slope).sum(-1) + self.energy.offset


def published_pair(
    variables: int,
    conditions: int,
    features: int,
    *,
    blocks: int = 10,
    bins: int = 8,
    bound: float = 3.0,
    conditioner: int = 16,
    hidden: int = 32,
    layers: int = 2,
    augment: bool = True,
    positive: bool = False,
    sign: Literal[1, -1] = 1,
) -> PublishedPair:
    """The published energy and flow: blocks of (normalisation, LU, autoregressive spline) over a logistic law.

    Args:
        variables: D.
        conditions: K.
        features: m.
        blocks: of the flow.
        bins: of its splines.
        bound: of its splines.
        conditioner: width of the four-layer perceptrons of its splines.
        hidden: width of the energy's network.
        layers: L of the data; the energy's network has L + 1 hidden layers.
        augment: whether the energy has tied squares.
        positive: whether features and labels pass a ReLU.
        sign: of the energy.
    """
    element = PublishedSplineMap(bins, bound)
    parts: list[FlowLayer] = []
    for _ in range(blocks):
        network = SeparateMLPs(variables, element.outputs, (conditioner,) * 3, slope=0.2)
        parts += [ActNorm(variables), LULinear(variables), Autoregressive(variables, element, network=network)]
    squares: Squares | None = "tied" if augment else None
    energy = ConditionalEnergy(
        BatchNormMLP(variables, features, hidden, layers + 1),
        conditions,
        features,
        squares=squares,
        positive=positive,
        log_norm="shared",
        sign=sign,
    )
    return PublishedPair(energy, Flow(parts, variables, StandardLogistic(variables)))


def _with_mean(table: Tensor | None) -> Tensor:
    """A table ``(K, m)`` with the mean of its rows as row K."""
    assert table is not None
    return torch.cat([table, table.mean(0, keepdim=True)])
