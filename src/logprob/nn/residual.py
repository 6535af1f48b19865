"""Residual networks on images, with 18 layers or the first few of them."""

from __future__ import annotations

from math import isqrt

import torch.nn.functional as F
from torch import Tensor, nn

from logprob.nn.mlp import check_widths


class ResidualBlock(nn.Module):
    """``relu(x + f(x))`` with f two 3x3 convolutions; where the shape changes, x goes through a 1x1 convolution.

    Args:
        inputs: channels before.
        outputs: channels after.
        stride: of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.change = nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
            *(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)),
        )
        kept = inputs == outputs and stride == 1
        self.short = (
            nn.Identity()
            if kept
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        return F.relu(self.short(x) + self.change(x))


class ResNet18(nn.Module):
    """The residual network of 18 layers: one number for each of ``outputs`` from a whole image.

    Args:
        outputs: number of outputs.
        channels: of the image.
        width: channels of the first stage; the later ones have 2, 4 and 8 times as many.

    Raises:
        ValueError: for a number below one.

    References:
        He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.

    Example:
        >>> import torch
        >>> ResNet18(outputs=9, width=4)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 9])
    """

    def __init__(self, outputs: int, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        check_widths([outputs, channels, width])
        self.stages = nn.Sequential(_stem(channels, width), _stage(width, width, 1))
        for stage in range(3):
            self.stages.append(_stage(width * 2**stage, width * 2 ** (stage + 1), 2))
        self.output = nn.Linear(8 * width, outputs)
        _start(self)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, outputs)``."""
        out: Tensor = self.output(self.stages(images).mean((-2, -1)))
        return out


class CostNetwork(nn.Module):
    """A cost, at least 0, for each cell of a square map, from an image of the map.

    The first stage of a residual network, then the largest value of each of its channels in each cell, the mean over
    the channels, and the absolute value of that. Cells are far apart in the image: a cost sees little beyond its cell.

    Args:
        outputs: number of cells, a square.
        channels: of the image.
        width: channels of the residual network.

    Raises:
        ValueError: for a number below one, or outputs that are no square.

    References:
        Vlastelica, Paulus, Musil, Martius and Rolinek, "Differentiation of Blackbox Combinatorial Solvers", ICLR 2020.

    Example:
        >>> import torch
        >>> CostNetwork(outputs=9, width=4)(torch.rand(2, 3, 24, 24)).shape
        torch.Size([2, 9])
    """

    def __init__(self, outputs: int, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        check_widths([outputs, channels, width])
        self.stages = nn.Sequential(_stem(channels, width), _stage(width, width, 1))
        self.cells = nn.AdaptiveMaxPool2d(square_side(outputs))
        _start(self)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, outputs)``, row by row."""
        cells: Tensor = self.cells(self.stages(images))
        return cells.mean(-3).abs().flatten(-2)


def square_side(cells: int) -> int:
    """Side of a square of so many cells.

    Raises:
        ValueError: if there is none.
    """
    side = isqrt(cells)
    if side * side != cells:
        raise ValueError(f"expected the cells of a square map, got {cells}")
    return side


def _stem(channels: int, width: int) -> nn.Sequential:
    """A quarter of the image's sides."""
    convolution = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1))


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(inputs, outputs, stride), ResidualBlock(outputs, outputs))


def _start(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
