"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from logprob.nn.start import Start, start_from

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
            both as they are. A small one makes the network start close to zero.
        final_activation: a nonlinearity for the outputs too, or none.
        init: start of the weights, see :func:`start_from`.

    Raises:
        ValueError: for a width below one or an unknown name.

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
        final_activation: Nonlinearity | None = None,
        init: Start = "torch",
    ) -> None:
        widths = [inputs, *hidden, outputs]
        check_widths(widths)
        make = nonlinearity(activation)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), make()]
        last = [] if final_activation is None else [nonlinearity(final_activation)()]
        super().__init__(*layers[:-1], *last)
        start_from(self, init)
        if final_scale is not None:
            shrink(layers[-2], final_scale)


class SignedMLP(MLP):
    """An :class:`MLP` of ``2 x - 1``: inputs between 0 and 1 come to lie around zero.

    Args and errors: those of :class:`MLP`.

    Example:
        >>> import torch
        >>> network = SignedMLP(3, 2, hidden=(), init="glorot")  # the bias is zero
        >>> network(torch.full((1, 3), 0.5))
        tensor([[0., 0.]], grad_fn=<AddmmBackward0>)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Outputs ``(..., outputs)`` of rows ``(..., inputs)``."""
        return super().forward(2 * input - 1)


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
