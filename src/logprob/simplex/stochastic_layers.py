"""Structured output prediction: a network with layers of binary random units between what is given and the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from logprob.distributions import (
    BernoulliPixels,
    DecodedDistribution,
    DecodedModel,
    PixelLikelihood,
)
from logprob.gradients.base import PathwiseGradient
from logprob.gradients.category import draw_category
from logprob.gradients.reparameterized import Reparameterized
from logprob.nn import MLP, Start
from logprob.simplex.binary_units import BinaryUnits, unit_values
from logprob.simplex.relaxed import RelaxedOneHot

Draw = Callable[[RelaxedOneHot, torch.Size], Tensor]


class StochasticNetwork(DecodedModel):
    """``p(x | c) = E p(x | h_L)`` over layers ``h_1, ..., h_L`` of binary units in {-1, 1}, each given the one below.

    Every map, from the context c to ``h_1``, between the layers and from ``h_L`` to the likelihood, is linear, or has
    ``hidden`` layers of tanh where it leads to random units.

    In training mode the units are drawn by ``gradient``: relaxed, so that the model is another one than is evaluated,
    or rounded with a surrogate gradient. In evaluation mode they are rounded, and have no gradient. :meth:`given` says
    it explicitly.

    Args:
        variables: number D of output variables.
        units: makes the law of a layer's units from their number.
        inputs: width of the context; that of the output if omitted.
        width: units of a layer.
        layers: layers L of units.
        hidden: widths of the tanh layers before every layer of units.
        init: start of the weights, see :func:`~logprob.nn.start_from`.
        gradient: how units are drawn in training.
        likelihood: of the output given the last layer.

    Raises:
        ValueError: if a number is below 1.
        TypeError: if the gradient is no sample, as units of a layer are given to the next one.

    References:
        Raiko, Berglund, Alain and Dinh, "Techniques for Learning Binary Stochastic Feedforward Neural Networks",
        ICLR 2015; Potapczynski, Loaiza-Ganem and Cunningham, "Invertible Gaussian Reparameterization", NeurIPS 2020.

    Example:
        >>> from logprob.simplex.binary_units import ConcreteUnits
        >>> model = StochasticNetwork(6, ConcreteUnits, inputs=4, width=5, layers=2)
        >>> c, x = torch.rand(3, 4), torch.bernoulli(torch.full((3, 6), 0.5))
        >>> model(c).log_prob_bound(x, samples=10).shape, model(c).sample((2,)).shape
        (torch.Size([3]), torch.Size([2, 3, 6]))
    """

    def __init__(
        self,
        variables: int,
        units: Callable[[int], BinaryUnits],
        inputs: int | None = None,
        width: int = 240,
        layers: int = 2,
        hidden: Sequence[int] = (),
        init: Start = "torch",
        gradient: PathwiseGradient | None = None,
        likelihood: PixelLikelihood = BernoulliPixels(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        self.variables = variables
        self.inputs = variables if inputs is None else inputs
        widths = [self.inputs, *[width] * layers]
        self.maps = nn.ModuleList(MLP(a, b, hidden, "tanh", init=init) for a, b in pairwise(widths))
        self.laws = nn.ModuleList(units(width) for _ in range(layers))
        self.output = MLP(width, likelihood.parameters * variables, (), init=init)
        self.gradient = Reparameterized() if gradient is None else gradient
        if not isinstance(self.gradient, PathwiseGradient):
            raise TypeError(f"expected gradient to be a PathwiseGradient, got {type(gradient).__name__}")
        self.likelihood = likelihood

    def forward(self, context: Tensor | None = None) -> StochasticNetworkDistribution:
        """The law of the output given ``context``, with units as the mode of the module says."""
        return self.given(context, self.gradient if self.training else None)

    def given(self, context: Tensor | None, gradient: PathwiseGradient | None) -> StochasticNetworkDistribution:
        """The law of the output given ``context``, ``(B, inputs)``.

        Args:
            context: what is given.
            gradient: how units are drawn; None rounds them.

        Raises:
            ValueError: if the context is missing or has another width.
        """
        if context is None or context.shape[-1] != self.inputs:
            got = "none" if context is None else f"one of width {context.shape[-1]}"
            raise ValueError(f"expected a context of width {self.inputs}, got {got}")
        context = self.cast(context)
        return StochasticNetworkDistribution(self, context, draw_category if gradient is None else gradient.rsample)

    def decode(self, context: Tensor, sample_shape: torch.Size, draw: Draw) -> Tensor:
        """The likelihood's numbers, ``sample_shape + (B, P D)``, for so many draws of all units."""
        values = context
        for index, (layer, law) in enumerate(zip(self.maps, self.laws, strict=True)):
            # The first layer's numbers are the same for all draws.
            values = unit_values(draw(law(layer(values)), torch.Size() if index else sample_shape))
        raw: Tensor = self.output(values)
        return raw


class StochasticNetworkDistribution(DecodedDistribution):
    """The law of the output of a :class:`StochasticNetwork` given a context; of its probability a bound is known.

    Args:
        model: whose present parameters are used at every call.
        context: what is given, ``(B, inputs)``.
        draw: draws units, ``draw(law, sample_shape)``.
    """

    def __init__(self, model: StochasticNetwork, context: Tensor, draw: Draw) -> None:
        self.model, self.context, self.draw = model, context, draw
        super().__init__(model.likelihood, context.shape[:-1], model.variables)

    def log_weights(self, value: Tensor, samples: int) -> Tensor:
        """``log p(x | h_m)``, ``(M, B)``, for one output a context."""
        raw = self.decoded(torch.Size((samples,)))
        return self.likelihood(raw, value.to(raw.dtype))

    def decoded(self, sample_shape: torch.Size) -> Tensor:
        """The likelihood's numbers for draws of the units."""
        return self.model.decode(self.context, sample_shape, self.draw)

    def predict(self, samples: int) -> Tensor:
        """Mean of the output, ``(B, D)``, estimated from so many draws of the units."""
        return self.sample_mean((samples,)).mean(0)

    def expand(self, batch_shape: Any, _instance: Any = None) -> StochasticNetworkDistribution:
        """The same distribution with another batch shape, to which the context can be expanded."""
        context = self.context.expand(*batch_shape, self.context.shape[-1])
        return StochasticNetworkDistribution(self.model, context, self.draw)
