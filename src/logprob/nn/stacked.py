"""Several networks of one shape, trained side by side: every parameter has a leading axis of copies."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from logprob.nn.mlp import NONLINEARITIES, check_widths

M = TypeVar("M", bound=nn.Module)
StackedNonlinearity = Literal["maxout", "relu", "leaky-relu", "elu", "gelu", "silu", "softplus", "tanh"]


class StackedLinear(nn.Module):
    """``y_c = x W_c^T + b_c`` for copies c = 1..C; without copies, an ordinary linear layer.

    Small networks leave a processor idle; C of them in one batched product cost little more than one. The losses of
    the copies are summed, so each gets the gradient that it would have alone.

    Args:
        inputs: number of inputs.
        outputs: number of outputs.
        copies: number C of copies, or None for none and no leading axis.
        bias: whether there is a bias.

    Shapes: rows ``(N, inputs)``, the same for all copies, or ``(C, N, inputs)``, to ``(C, N, outputs)``; without
    copies ``(..., inputs)`` to ``(..., outputs)``. Weights and biases start uniform on ``+-1 / sqrt(inputs)``.

    Raises:
        ValueError: for a width or a number of copies below one.

    Example:
        >>> StackedLinear(3, 2, copies=4)(torch.randn(5, 3)).shape
        torch.Size([4, 5, 2])
    """

    def __init__(self, inputs: int, outputs: int, copies: int | None = None, bias: bool = True) -> None:
        super().__init__()
        check_widths([inputs, outputs])
        self.inputs, self.outputs, self.copies = inputs, outputs, copies
        lead = copies_shape(copies)
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(*lead, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(*lead, outputs).uniform_(-bound, bound)) if bias else None

    def extra_repr(self) -> str:
        """Widths and copies."""
        return f"{self.inputs}, {self.outputs}, copies={self.copies}, bias={self.bias is not None}"

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of rows."""
        if self.copies is None:
            return nn.functional.linear(x, self.weight, self.bias)
        if self.bias is None:
            return x @ self.weight.mT
        if x.dim() == 2:
            x = x.expand(self.copies, *x.shape)
        return torch.baddbmm(self.bias.unsqueeze(-2), x, self.weight.mT)


class StackedMLP(nn.Sequential):
    """C multilayer perceptrons of one shape, on the last dimension.

    Args:
        inputs: number of inputs.
        outputs: number of outputs.
        hidden: widths of the hidden layers.
        activation: a name of :class:`~logprob.nn.MLP`, or ``"maxout"``: a hidden layer of width h is the larger one
            of h pairs of linear functions.
        copies: number C, or None for no leading axis.
        slope: of ``"leaky-relu"`` below zero.

    Shapes: as in :class:`StackedLinear`.

    Raises:
        ValueError: for a width or a number of copies below one, or an unknown name.

    Example:
        >>> StackedMLP(3, 2, hidden=(20,), activation="maxout", copies=4)(torch.randn(5, 3)).shape
        torch.Size([4, 5, 2])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (20,),
        activation: StackedNonlinearity = "maxout",
        copies: int | None = None,
        slope: float = 0.01,
    ) -> None:
        if activation != "maxout" and activation not in NONLINEARITIES:
            raise ValueError(f"activation must be maxout, {', '.join(NONLINEARITIES)}, got {activation!r}")
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *hidden]):
            if activation == "maxout":
                layers.append(StackedMaxout(before, after, copies))
            else:
                layers += [StackedLinear(before, after, copies), _activation(activation, slope)]
        super().__init__(*layers, StackedLinear([inputs, *hidden][-1], outputs, copies))


class StackedMaxout(StackedLinear):
    """A linear layer of 2 h outputs and :class:`Maxout` on them, ``max(a, b) = b + relu(a - b)``.

    It has the parameters of ``StackedLinear(inputs, 2 * units)`` and, but for rounding, the outputs of the two layers
    one after the other. As differences are taken of weights, not of rows, it is several times as fast.

    Args:
        inputs: number of inputs.
        units: number h of pairs.
        copies: number C of copies, or None.

    Example:
        >>> layer, x = StackedMaxout(3, 20, copies=4), torch.randn(5, 3)
        >>> torch.allclose(layer(x), Maxout()(StackedLinear.forward(layer, x)), atol=1e-5)
        True
    """

    def __init__(self, inputs: int, units: int, copies: int | None = None) -> None:
        super().__init__(inputs, 2 * units, copies)

    def forward(self, x: Tensor) -> Tensor:
        """Units of rows."""
        first, second = self.weight.unflatten(-2, (-1, 2)).unbind(-2)  # (*copies, h, inputs)
        assert self.bias is not None
        first_bias, second_bias = self.bias.unflatten(-1, (-1, 2)).unbind(-1)
        if self.copies is None:
            excess = nn.functional.linear(x, first - second, first_bias - second_bias)
            return nn.functional.linear(x, second, second_bias) + excess.relu()
        if x.dim() == 2:
            x = x.expand(self.copies, *x.shape)
        excess = torch.baddbmm((first_bias - second_bias).unsqueeze(-2), x, (first - second).mT)
        return torch.baddbmm(excess.relu() + second_bias.unsqueeze(-2), x, second.mT)


class Maxout(nn.Module):
    """``max(x_2i, x_2i+1)`` of consecutive pairs on the last dimension.

    References:
        Goodfellow et al., "Maxout Networks", ICML 2013.

    Example:
        >>> Maxout()(torch.tensor([1.0, 2.0, 5.0, 4.0]))
        tensor([2., 5.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Half as many features."""
        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.maximum(first, second)


def _activation(name: str, slope: float) -> nn.Module:
    return nn.LeakyReLU(slope) if name == "leaky-relu" else NONLINEARITIES[name]()


def copies_shape(copies: int | None) -> tuple[int, ...]:
    """The leading axis of parameters.

    Raises:
        ValueError: for less than one copy.
    """
    if copies is not None and copies < 1:
        raise ValueError(f"copies must be at least 1, or None for no leading axis, got {copies}")
    return () if copies is None else (copies,)


def take_copy(module: M, index: int) -> M:
    """One copy of a stacked module, without the leading axis; the rest is left behind.

    Args:
        module: all of whose parameters and floating-point buffers have the leading axis.
        index: of the copy.

    Raises:
        IndexError: if there is no such copy.

    Example:
        >>> many = StackedLinear(3, 2, copies=4)
        >>> one, x = take_copy(many, 2), torch.randn(5, 3)
        >>> torch.allclose(one(x), many(x)[2])
        True
    """
    alone = copy.deepcopy(module)
    for part in alone.modules():
        _replace(part._parameters, lambda value: nn.Parameter(value.detach()[index].clone(), value.requires_grad))
        _replace(part._buffers, lambda value: value[index].clone() if value.is_floating_point() else value)
        if getattr(part, "copies", None) is not None:
            part.__dict__["copies"] = None
    return alone


def _replace(held: dict[str, Any], change: Callable[[Tensor], Tensor]) -> None:
    for name, value in held.items():
        if value is not None:
            held[name] = change(value)
