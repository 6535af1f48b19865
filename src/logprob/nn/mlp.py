"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

Nonlinearity = Literal["relu", "leaky-relu", "elu", "gelu", "silu", "softplus", "tanh"]
NONLINEARITIES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


class MLP(nn.Sequential):
    """Linear layers with a nonlinearity between them, on the last dimension.

    Args:
        inputs: number of inputs.
        outputs: number of outputs.
        hidden: widths of the hidden layers; none of them makes a linear map.
        activation: the nonlinearity.
        final_scale: factor on the initial weights of the last layer, whose bias then starts at zero; None leaves
            both as torch makes them. A small one makes the network start close to zero.

    Raises:
        ValueError: for a width below one or an unknown nonlinearity.

    Example:
        >>> import torch
        >>> MLP(3, 2, hidden=(16, 16))(torch.randn(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (128, 128),
        activation: Nonlinearity = "relu",
        final_scale: float | None = None,
    ) -> None:
        widths = [inputs, *hidden, outputs]
        check_widths(widths)
        make = nonlinearity(activation)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), make()]
        super().__init__(*layers[:-1])
        if final_scale is not None:
            shrink(layers[-2], final_scale)


def nonlinearity(name: str) -> type[nn.Module]:
    """The module of a name.

    Raises:
        ValueError: listing the names, if it is not one of them.
    """
    if name not in NONLINEARITIES:
        raise ValueError(f"activation must be one of {', '.join(NONLINEARITIES)}, got {name!r}")
    return NONLINEARITIES[name]


def check_widths(widths: Sequence[int]) -> None:
    """Raise ValueError unless all widths are at least one."""
    if min(widths) < 1:
        raise ValueError(f"widths must be at least 1, got {list(widths)}")


def shrink(layer: nn.Module, scale: float) -> None:
    """Multiply the weight of a linear layer and set its bias to zero."""
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.mul_(scale)
        layer.bias.zero_()
