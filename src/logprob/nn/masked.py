"""A perceptron whose outputs see only the inputs before them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from logprob.nn.context import with_context
from logprob.nn.mlp import Nonlinearity, check_widths, nonlinearity, shrink


class MaskedMLP(nn.Module):
    """Outputs ``y[:, q, i]`` that depend on the inputs before i only, and on all of the context.

    Every unit has a degree, and weights that lead from a higher to a lower degree are masked: input i has degree
    ``i + 1``, the context 0, and hidden degrees are spread evenly from the lowest to ``inputs - 1``, both included.
    A layer of few units skips degrees: what depends on an input is then later than it might be.

    Args:
        inputs: number of inputs D.
        outputs: number of outputs Q for each input.
        hidden: widths of the hidden layers.
        context: width of the context, 0 for none.
        activation: the nonlinearity.
        reverse: "before" counts from the last input.
        final_scale: as for :class:`~logprob.nn.MLP`.

    Raises:
        ValueError: for a width below one or an unknown nonlinearity.

    References:
        Germain, Gregor, Murray and Larochelle, "MADE", ICML 2015.

    Example:
        >>> import torch
        >>> MaskedMLP(4, 2, hidden=(16, 16))(torch.randn(5, 4)).shape
        torch.Size([5, 2, 4])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (128, 128),
        context: int = 0,
        activation: Nonlinearity = "relu",
        reverse: bool = False,
        final_scale: float | None = None,
    ) -> None:
        super().__init__()
        check_widths([inputs, outputs, *hidden])
        self.inputs, self.outputs, self.context = inputs, outputs, context
        order = torch.arange(inputs, 0, -1) if reverse else torch.arange(1, inputs + 1)
        # Without a context units of degree 0 would be constants.
        lowest = 0 if context else min(1, inputs - 1)
        degrees = [torch.cat([order, torch.zeros(context, dtype=torch.long)])]
        degrees += [_spread(lowest, inputs - 1, width) for width in hidden]
        degrees += [(order - 1).repeat(outputs)]
        self.activation = nonlinearity(activation)()
        self.layers = nn.ModuleList()
        for number, (before, after) in enumerate(pairwise(degrees)):
            self.layers.append(nn.Linear(len(before), len(after)))
            mask = (after.unsqueeze(1) >= before).to(torch.get_default_dtype())
            self.register_buffer(f"mask{number}", mask, persistent=False)
        if final_scale is not None:
            shrink(self.layers[-1], final_scale)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Outputs ``(B, Q, D)`` of rows ``(B, D)``, with a context of ``(B, C)`` where there is one."""
        weight, bias = self._linear(len(self.layers) - 1)
        return F.linear(self._features(x, context), weight, bias).unflatten(-1, (self.outputs, self.inputs))

    def column(self, index: int, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The outputs ``(B, Q)`` of one input, without computing those of the others."""
        weight, bias = self._linear(len(self.layers) - 1, slice(index, None, self.inputs))
        return F.linear(self._features(x, context), weight, bias)

    def _features(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The last hidden layer."""
        x = with_context(x, context, self.context)
        for number in range(len(self.layers) - 1):
            x = self.activation(F.linear(x, *self._linear(number)))
        return x

    def _linear(self, number: int, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Masked weight and bias of a layer, or some rows of them."""
        layer, mask = self.layers[number], self.get_buffer(f"mask{number}")
        assert isinstance(layer, nn.Linear)
        return layer.weight[rows] * mask[rows], layer.bias[rows]


def _spread(lowest: int, highest: int, width: int) -> Tensor:
    """The degrees of a hidden layer: all of them as often as one another, or fewer of them up to the highest."""
    count, place = highest - lowest + 1, torch.arange(width)
    if width >= count:
        return lowest + place * count // width
    return highest - place * (count - 1) // max(width - 1, 1)
