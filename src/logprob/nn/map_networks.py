"""Small networks from the image of a map to a number for each of its cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from logprob.nn.mlp import check_widths
from logprob.nn.residual import square_side


class PureConvNet(nn.Module):
    """Convolutions with ReLU, the largest value of each channel in each cell, and one linear map of those.

    Args:
        outputs: number of cells, a square.
        channels: of the image.
        hidden: channels of each convolution.
        kernel_size: side of the kernels, odd.
        nonnegative: whether the absolute value is returned, as costs are.

    Raises:
        ValueError: for a number below one, an even kernel, or outputs that are no square.

    Example:
        >>> import torch
        >>> PureConvNet(outputs=9)(torch.rand(2, 3, 24, 24)).shape
        torch.Size([2, 9])
    """

    def __init__(
        self,
        outputs: int,
        channels: int = 3,
        hidden: Sequence[int] = (16, 16),
        kernel_size: int = 5,
        nonnegative: bool = True,
    ) -> None:
        super().__init__()
        check_widths([outputs, channels, kernel_size, *hidden])
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        layers: list[nn.Module] = []
        for before, after in pairwise([channels, *hidden]):
            layers += [nn.Conv2d(before, after, kernel_size, padding=kernel_size // 2), nn.ReLU()]
        cells = nn.AdaptiveMaxPool2d(square_side(outputs))
        self.layers = nn.Sequential(*layers, cells, nn.Conv2d([channels, *hidden][-1], 1, 1))
        self.nonnegative = nonnegative

    def forward(self, images: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, outputs)``, row by row."""
        numbers: Tensor = self.layers(images).flatten(-3)
        return numbers.abs() if self.nonnegative else numbers


class FlattenedImages(nn.Module):
    """Any network of flat rows, shown images: an :class:`MLP`, or a :class:`ConvEncoder` that folds them again.

    Args:
        outputs: number of outputs.
        shape: ``(channels, height, width)`` of an image.
        network: makes a network of ``(inputs, outputs)``.
        nonnegative: whether the absolute value is returned, as costs are.

    Raises:
        ValueError: for a number below one.

    Example:
        >>> import torch
        >>> from logprob.nn import MLP
        >>> FlattenedImages(9, (3, 24, 24), MLP)(torch.rand(2, 3, 24, 24)).shape
        torch.Size([2, 9])
    """

    def __init__(
        self,
        outputs: int,
        shape: Sequence[int],
        network: Callable[[int, int], nn.Module],
        nonnegative: bool = True,
    ) -> None:
        super().__init__()
        check_widths([outputs, *shape])
        self.network = network(math.prod(shape), outputs)
        self.nonnegative = nonnegative

    def forward(self, images: Tensor) -> Tensor:
        """``(B, *shape)`` to ``(B, outputs)``."""
        numbers: Tensor = self.network(images.flatten(1))
        return numbers.abs() if self.nonnegative else numbers
