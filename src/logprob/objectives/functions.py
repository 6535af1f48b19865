"""Functions of discrete vectors whose expectation is a problem to try gradients on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DistanceToTarget(nn.Module):
    """``f(z) = sum_i (z_i - b_i)^2``: linear in z up to a constant where z is binary, and a quadratic elsewhere.

    Args:
        targets: b, one for each of n variables.

    Example:
        >>> import torch
        >>> DistanceToTarget([1.0, 0.5, 0.0])(torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]))
        tensor([0.2500, 2.2500])
    """

    targets: Tensor

    def __init__(self, targets: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("targets", torch.tensor(targets))

    def forward(self, z: Tensor) -> Tensor:
        """``(..., n)`` to ``(...)``.

        Raises:
            ValueError: if the last dimension is not n.
        """
        check_variables(z, len(self.targets))
        return (z - self.targets).square().sum(-1)


class TanhNetwork(nn.Module):
    """``f(z) = v . tanh(z W)`` with fixed random weights: smooth, and far from linear.

    ``W`` is ``(n, hidden)`` and ``v`` is ``(hidden,)``, all independent N(0, 1).

    Args:
        variables: n.
        hidden: number of hidden units.
        seed: of the weights.

    Example:
        >>> import torch
        >>> TanhNetwork(5)(torch.ones(3, 5)).shape
        torch.Size([3])
    """

    weight: Tensor
    output: Tensor

    def __init__(self, variables: int, hidden: int = 16, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("weight", torch.randn(variables, hidden, generator=generator))
        self.register_buffer("output", torch.randn(hidden, generator=generator))

    def forward(self, z: Tensor) -> Tensor:
        """``(..., n)`` to ``(...)``.

        Raises:
            ValueError: if the last dimension is not n.
        """
        check_variables(z, len(self.weight))
        return (z @ self.weight).tanh() @ self.output


def check_variables(z: Tensor, variables: int) -> None:
    """Raise ValueError unless the last dimension of ``z`` is ``variables``."""
    if z.shape[-1] != variables:
        raise ValueError(f"expected vectors of {variables} variables, got shape {tuple(z.shape)}")
