"""Sines and cosines of inputs, and outputs that depend on no input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from logprob.nn.mlp import check_widths
from logprob.nn.stacked import StackedMLP, StackedNonlinearity

FREQUENCIES = (0.5, 1.0, 2.0, 4.0, 8.0)


class PositionalEncoding(nn.Module):
    """Sines of all inputs times each frequency, then cosines, on the last dimension.

    Args:
        frequencies: in radians for a unit of the inputs.

    Raises:
        ValueError: if there are none.

    Example:
        >>> PositionalEncoding((1.0, 2.0))(torch.zeros(2))
        tensor([0., 0., 0., 0., 1., 1., 1., 1.])
    """

    frequencies: Tensor

    def __init__(self, frequencies: Sequence[float] = FREQUENCIES) -> None:
        super().__init__()
        if not frequencies:
            raise ValueError("expected at least one frequency, got none")
        self.register_buffer("frequencies", torch.tensor([float(f) for f in frequencies]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to ``(..., 2 F D)``."""
        angles = (self.frequencies.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)
        return torch.cat([angles.sin(), angles.cos()], -1)


class PositionalMLP(nn.Sequential):
    """A :class:`StackedMLP` of a :class:`PositionalEncoding`: it follows fast changes from the start.

    Args:
        inputs: number of inputs.
        outputs: number of outputs.
        hidden: widths of the hidden layers.
        frequencies: of the encoding.
        activation: the nonlinearity.
        slope: of ``"leaky-relu"`` below zero.

    Raises:
        ValueError: for a width below one, an unknown name, or no frequency.

    Example:
        >>> PositionalMLP(3, 2)(torch.randn(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (24, 24, 24),
        frequencies: Sequence[float] = FREQUENCIES,
        activation: StackedNonlinearity = "leaky-relu",
        slope: float = 0.2,
    ) -> None:
        encoded = 2 * len(frequencies) * inputs
        network = StackedMLP(encoded, outputs, hidden, activation, slope=slope)
        super().__init__(PositionalEncoding(frequencies), network)


class FreeOutputs(nn.Module):
    """Outputs that are parameters, the same for every row.

    Args:
        outputs: number of outputs.
        spread: they start uniform on +- this.

    Raises:
        ValueError: for less than one.

    Example:
        >>> FreeOutputs(2)(torch.randn(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, outputs: int, spread: float = 0.0) -> None:
        super().__init__()
        check_widths([outputs])
        self.values = nn.Parameter(spread * (2 * torch.rand(outputs) - 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to ``(..., outputs)``."""
        return self.values.expand(*x.shape[:-1], -1)
