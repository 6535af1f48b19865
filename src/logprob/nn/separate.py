"""A perceptron of its own for each feature, which sees the features before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from logprob.nn.mlp import check_widths
from logprob.nn.stacked import StackedLinear, StackedMLP, StackedNonlinearity


class SeparateMLPs(nn.Module):
    """Outputs ``y[:, q, i]`` of a perceptron i that sees the inputs before i only; the first ones are constants.

    :class:`~logprob.nn.MaskedMLP` shares its hidden units among the outputs; here nothing is shared. All perceptrons
    are computed in one batched product.

    Args:
        inputs: number of inputs D, at least 2.
        outputs: number of outputs Q for each input.
        hidden: widths of the hidden layers of each perceptron.
        activation: the nonlinearity.
        slope: of ``"leaky-relu"`` below zero.

    Weights and biases start uniform on ``+-1 / sqrt(fan in)``, the constants on ``+-1/2``.

    Raises:
        ValueError: for fewer than two inputs, a width below one or an unknown nonlinearity.

    Example:
        >>> import torch
        >>> SeparateMLPs(4, 2, hidden=(16, 16))(torch.randn(5, 4)).shape
        torch.Size([5, 2, 4])
    """

    mask: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (16, 16, 16),
        activation: StackedNonlinearity = "leaky-relu",
        slope: float = 0.01,
    ) -> None:
        super().__init__()
        check_widths([inputs - 1, outputs, *hidden])
        self.inputs, self.outputs, self.context = inputs, outputs, 0
        self.first = nn.Parameter(torch.rand(outputs) - 0.5)
        self.networks = StackedMLP(inputs - 1, outputs, hidden, activation, inputs - 1, slope)
        seen = torch.arange(1.0, inputs)  # number of inputs that a perceptron sees
        self.register_buffer("mask", torch.ones(inputs - 1, inputs - 1).tril().unsqueeze(1), persistent=False)
        layer = self.networks[0]
        assert isinstance(layer, StackedLinear)
        assert layer.bias is not None
        with torch.no_grad():  # the start of a layer that has only these inputs
            factor = math.sqrt(inputs - 1) / seen.sqrt()
            layer.weight.mul_(factor[:, None, None])
            layer.bias.mul_(factor[:, None])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Outputs ``(B, Q, D)`` of rows ``(B, D)``; there is no context."""
        rest = self.networks(x[:, :-1] * self.mask)  # (D - 1, B, Q)
        first = self.first.expand(1, len(x), self.outputs)
        return torch.cat([first, rest]).permute(1, 2, 0)

    def column(self, index: int, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The outputs ``(B, Q)`` of one input, by its perceptron alone."""
        if index == 0:
            return self.first.expand(len(x), self.outputs)
        h = x[:, :-1] * self.mask[index - 1]
        for layer in self.networks:
            if isinstance(layer, StackedLinear):
                assert layer.bias is not None
                h = F.linear(h, layer.weight[index - 1], layer.bias[index - 1])
            else:
                h = layer(h)
        return h
