"""Multilayer perceptrons with batch normalisation, also several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from logprob.nn.mlp import NONLINEARITIES, check_widths
from logprob.nn.stacked import StackedLinear, copies_shape


class StackedBatchNorm(nn.Module):
    """Batch normalisation of each column, for each copy by itself: ``(x - mean) / sqrt(var + eps) * weight + bias``.

    In training mode mean and variance are those of the rows, and running averages of them are kept; in eval mode those
    averages are used. One row has no variance: in training mode, too, the averages are then used, and left as they are.

    Args:
        features: number of columns.
        copies: number C of copies, or None for no leading axis.
        momentum: weight of the newest batch in the averages.
        eps: added to variances.

    Shapes: ``(*copies, N, features)`` to the same.

    Raises:
        ValueError: for a width or a number of copies below one.

    Example:
        >>> StackedBatchNorm(3, copies=4)(torch.randn(4, 5, 3)).shape
        torch.Size([4, 5, 3])
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, copies: int | None = None, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        check_widths([features])
        self.features, self.copies, self.momentum, self.eps = features, copies, momentum, eps
        shape = (*copies_shape(copies), features)
        self.weight, self.bias = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))

    def extra_repr(self) -> str:
        """Width and copies."""
        return f"{self.features}, copies={self.copies}, momentum={self.momentum}"

    def forward(self, x: Tensor) -> Tensor:
        """Normalised rows."""
        flat = x if self.copies is None else x.transpose(0, 1).flatten(1)  # (N, C features)
        parts = (self.running_mean, self.running_var, self.weight, self.bias)
        mean, var, weight, bias = (part.view(-1) for part in parts)
        training = self.training and len(flat) > 1
        out = nn.functional.batch_norm(flat, mean, var, weight, bias, training, self.momentum, self.eps)
        return out if self.copies is None else out.unflatten(1, (-1, self.features)).transpose(0, 1)


class NormalizedMLP(nn.Sequential):
    """Hidden layers of a linear map, a nonlinearity and batch normalisation, then a linear map.

    Args:
        inputs: number of inputs.
        outputs: number of outputs.
        hidden: widths of the hidden layers; none of them makes a linear map.
        activation: the nonlinearity.
        slope: of ``"leaky-relu"`` below zero.
        copies: number C of networks side by side, or None for no leading axis.

    Shapes: rows ``(N, inputs)``, with copies also ``(C, N, inputs)``, to ``(*copies, N, outputs)``.

    Raises:
        ValueError: for a number below one or an unknown name.

    Example:
        >>> NormalizedMLP(3, 2, hidden=(20, 20))(torch.randn(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (32,),
        activation: Literal["leaky-relu", "relu"] = "leaky-relu",
        slope: float = 0.2,
        copies: int | None = None,
    ) -> None:
        if activation not in NONLINEARITIES:
            raise ValueError(f"activation must be one of {', '.join(NONLINEARITIES)}, got {activation!r}")
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *hidden]):
            bend = nn.LeakyReLU(slope) if activation == "leaky-relu" else NONLINEARITIES[activation]()
            layers += [StackedLinear(before, after, copies), bend, StackedBatchNorm(after, copies)]
        super().__init__(*layers, StackedLinear([inputs, *hidden][-1], outputs, copies))


class BatchNormMLP(nn.Sequential):
    """The energy network of the published simulations: linear; then batch norm, linear, leaky ReLU a few times; linear.

    The first linear map has no nonlinearity of its own. With 5 inputs and outputs and 3 layers, for data of 2 layers,
    it has 2,597 parameters. It must be in eval mode, or the features of a row depend on the other rows.

    Args:
        inputs: number d of inputs.
        outputs: number of outputs; d if omitted.
        width: of all hidden layers.
        layers: linear maps before the last, at least 1, one more than the data have.
        slope: of the leaky ReLU below zero.
        copies: number C of networks side by side, or None for no leading axis.

    Shapes: as in :class:`NormalizedMLP`.

    Raises:
        ValueError: for a number below one.

    References:
        Khemakhem et al., "ICE-BeeM", NeurIPS 2020, appendix.

    Example:
        >>> sum(p.numel() for p in BatchNormMLP(5).parameters())
        2597
    """

    def __init__(
        self,
        inputs: int,
        outputs: int | None = None,
        width: int = 32,
        layers: int = 3,
        slope: float = 0.01,
        copies: int | None = None,
    ) -> None:
        check_widths([layers])
        parts: list[nn.Module] = [StackedLinear(inputs, width, copies)]
        for _ in range(layers - 1):
            parts += [StackedBatchNorm(width, copies), StackedLinear(width, width, copies), nn.LeakyReLU(slope)]
        super().__init__(*parts, StackedLinear(width, inputs if outputs is None else outputs, copies))
