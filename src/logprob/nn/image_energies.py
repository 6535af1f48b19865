"""Networks from flattened images to features: layers of linear maps, and convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from logprob.nn.mlp import check_widths
from logprob.nn.stacked import StackedLinear

Normalization = Literal["batch", "group"]


class FullMLP(nn.Module):
    """Linear layers of widths 8n, 6n, 4n, 4n and m, leaky ReLU between them, dropout after the second.

    Args:
        variables: number of pixels, channels included.
        outputs: m; as many as ``variables`` if omitted.
        width: n.
        dropout: probability, in [0, 1).
        slope: of the leaky ReLU below zero.
        copies: number C of networks side by side, or None, see :class:`~logprob.nn.StackedMLP`.

    Shapes: rows ``(..., variables)`` to ``(..., outputs)``, with copies ``(N, variables)`` to ``(C, N, outputs)``.

    Raises:
        ValueError: for a width below one.

    References:
        Khemakhem et al., "ICE-BeeM", NeurIPS 2020, appendix.

    Example:
        >>> import torch
        >>> FullMLP(784, 90)(torch.rand(5, 784)).shape
        torch.Size([5, 90])
    """

    def __init__(
        self,
        variables: int,
        outputs: int | None = None,
        width: int = 64,
        dropout: float = 0.1,
        slope: float = 0.1,
        copies: int | None = None,
    ) -> None:
        super().__init__()
        self.variables, self.outputs = variables, variables if outputs is None else outputs
        check_widths([variables, self.outputs, width])
        self.copies = copies
        self.layers = nn.Sequential(
            *(StackedLinear(variables, 8 * width, copies), nn.LeakyReLU(slope)),
            *(StackedLinear(8 * width, 6 * width, copies), nn.LeakyReLU(slope), nn.Dropout(dropout)),
            *(StackedLinear(6 * width, 4 * width, copies), nn.LeakyReLU(slope)),
            *(StackedLinear(4 * width, 4 * width, copies), nn.LeakyReLU(slope)),
            StackedLinear(4 * width, self.outputs, copies),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features of rows."""
        features: Tensor = self.layers(x)
        return features


class ConvMLP(nn.Module):
    """Four 3x3 convolutions of n/2, n, 2n, 4n channels, halved twice, one over all that is left, and two linear maps.

    Each 3x3 convolution is followed by a normalisation and a ReLU, every second of them by max pooling; dropout before
    the first linear map, a leaky ReLU of slope .1 between the two.

    Batch normalisation, as published, couples the rows of a batch, which denoising score matching cannot use; group
    normalisation, of 8 groups or fewer, looks at one row only and has as many parameters.

    Args:
        variables: number of pixels, channels included.
        outputs: m; as many as ``variables`` if omitted.
        image_shape: ``(channels, height, width)`` of a row, sides at least 4.
        width: n, even.
        dropout: probability, in [0, 1).
        normalization: "batch", "group" or None.

    Shapes: rows ``(..., variables)`` to ``(..., outputs)``; a batch of one is one.

    Raises:
        ValueError: if ``image_shape`` does not have ``variables`` pixels or is too small, for a width that is odd or
            below 2, or an unknown name.

    References:
        Khemakhem et al., "ICE-BeeM", NeurIPS 2020, appendix.

    Example:
        >>> import torch
        >>> ConvMLP(784, 90, image_shape=(1, 28, 28), width=4)(torch.rand(5, 784)).shape
        torch.Size([5, 90])
    """

    def __init__(
        self,
        variables: int,
        outputs: int | None = None,
        image_shape: Sequence[int] = (1, 28, 28),
        width: int = 64,
        dropout: float = 0.1,
        normalization: Normalization | None = "batch",
    ) -> None:
        super().__init__()
        self.image_shape = shape_of_images(image_shape, variables, least=4)
        self.variables, self.outputs = variables, variables if outputs is None else outputs
        check_widths([self.outputs, width // 2])
        if width % 2:
            raise ValueError(f"width must be even, got {width}")
        channels, height, breadth = self.image_shape
        self.convolutions = nn.Sequential(
            *(_Convolution(channels, width // 2, normalization), _Convolution(width // 2, width, normalization)),
            nn.MaxPool2d(2),
            *(_Convolution(width, 2 * width, normalization), _Convolution(2 * width, 4 * width, normalization)),
            nn.MaxPool2d(2),
            nn.Conv2d(4 * width, 4 * width, (height // 4, breadth // 4)),
        )
        self.head = nn.Sequential(
            *(nn.Dropout(dropout), nn.Linear(4 * width, 4 * width), nn.LeakyReLU(0.1)),
            nn.Linear(4 * width, self.outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features of rows."""
        batch = x.shape[:-1]
        images = x.reshape(batch.numel(), *self.image_shape)
        features: Tensor = self.head(self.convolutions(images).flatten(1))
        return features.reshape(*batch, self.outputs)


class _Convolution(nn.Sequential):
    def __init__(self, before: int, after: int, normalization: Normalization | None) -> None:
        kinds: dict[Normalization | None, list[nn.Module]] = {
            None: [],
            "batch": [nn.BatchNorm2d(after)],
            "group": [nn.GroupNorm(math.gcd(8, after), after)],
        }
        if normalization not in kinds:
            raise ValueError(f"normalization must be 'batch', 'group' or None, got {normalization!r}")
        super().__init__(nn.Conv2d(before, after, 3, padding=1), *kinds[normalization], nn.ReLU())


def shape_of_images(image_shape: Sequence[int], variables: int, least: int = 1) -> tuple[int, int, int]:
    """``(channels, height, width)`` of so many pixels.

    Raises:
        ValueError: if it is not, or a side is shorter than ``least``.
    """
    if len(image_shape) != 3 or min(image_shape) < 1 or math.prod(image_shape) != variables:
        raise ValueError(
            f"image_shape must be (channels, height, width) of {variables} pixels, got {tuple(image_shape)}"
        )
    channels, height, width = image_shape
    if min(height, width) < least:
        raise ValueError(f"sides of images must be at least {least}, got {height} and {width}")
    return channels, height, width
