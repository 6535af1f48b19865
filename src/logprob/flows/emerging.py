"""Emerging convolutions: two autoregressive convolutions in opposite orders see a full neighbourhood."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from logprob.flows.base import FlowLayer, InverseMethod
from logprob.flows.mixing import Conv1x1, check_image_shape, check_images
from logprob.flows.precision import at_least_float32, full_precision
from logprob.flows.sequential import Sequential


class AutoregressiveConv2d(FlowLayer):
    """2x2 convolution whose matrix is triangular in raster order.

    Output pixel ``(y, x)`` reads the inputs at ``(y-1, x-1), (y-1, x), (y, x-1)``, of all channels, and at
    ``(y, x)`` itself, where output channel ``o`` sees the input channels up to ``o``; zeros outside. Hence
    ``log|det dz/dx| = H W sum_c log|w[c, c, 1, 1]|``. The weight starts as the identity plus normal noise;
    nothing keeps its diagonal away from zero.

    Substitution inverts it one anti-diagonal of the image at a time, ``H + W - 1`` steps, each a matrix product.
    It is a recurrence: where the first three taps together have norm above 1 (relative to the last) it can amplify
    rounding errors exponentially in the image size. The published noise, ``1 / (2 C)``, does so for few channels
    (error 1e19 at 1x28x28); the default, ``min(1 / (2 C), 1 / (6 sqrt(C)))``, equals it from 9 channels on.

    Args:
        channels: C.
        noise: standard deviation of the noise at the start.

    Raises:
        ValueError: if ``channels`` is not positive, or for inputs other than ``(B, C, H, W)``.

    Example:
        >>> import torch
        >>> from logprob.flows import AutoregressiveConv2d
        >>> layer = AutoregressiveConv2d(3)
        >>> z, ladj = layer(torch.randn(2, 3, 4, 5))
        >>> layer.inverse(z).shape
        torch.Size([2, 3, 4, 5])
    """

    event_dim = 3

    def __init__(self, channels: int, noise: float | None = None) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        self.channels = channels
        if noise is None:
            # A random C x C tap has norm about 2 sqrt(C) noise; three of them then stay near 1.
            noise = min(1 / (2 * channels), 1 / (6 * math.sqrt(channels)))
        mask = torch.ones(channels, channels, 2, 2)
        mask[:, :, 1, 1] = mask[:, :, 1, 1].tril()
        self.register_buffer("mask", mask, persistent=False)
        self.mask: Tensor
        weight = noise * mask * torch.randn(channels, channels, 2, 2)
        weight[:, :, 1, 1] += torch.eye(channels)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact ``z`` of shape ``(B, C, H, W)`` and log-determinant of shape ``(B,)``."""
        check_images(x, self.channels)
        z = F.conv2d(x, self.weight * self.mask, self.bias, padding=1)[:, :, :-1, :-1]
        ladj = self.weight[:, :, 1, 1].diagonal().abs().log().sum() * (x.shape[2] * x.shape[3])
        return z, ladj.expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The exact ``x``, whatever the method; differentiable."""
        check_images(z, self.channels)
        return solve_autoregressive(z - self.bias[:, None, None], self.weight * self.mask)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, if it is that of an image with these channels."""
        return check_image_shape(shape, self.channels)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, if it is that of an image with these channels."""
        return check_image_shape(shape, self.channels)

    def extra_repr(self) -> str:
        """Channels."""
        return f"{self.channels}"


class Flip(FlowLayer):
    """Reverse both axes of images ``(B, C, H, W)``; the log-determinant is 0."""

    event_dim = 3

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The reversed images and zeros ``(B,)``."""
        return x.flip(2, 3), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Reverse again."""
        return z.flip(2, 3)


class EmergingConv2d(Sequential):
    """1x1 convolution, autoregressive convolution, flip, autoregressive convolution, flip.

    Together the two triangular maps see a 3x3 neighbourhood, and each has an exact and cheap log-determinant
    and an exact inverse; see :class:`AutoregressiveConv2d`.

    Args:
        channels: C.
        noise: standard deviation of the noise of both weights at the start, see there.

    Raises:
        ValueError: if ``channels`` is not positive, or for inputs other than ``(B, C, H, W)``.

    References:
        Hoogeboom, van den Berg, Welling, "Emerging convolutions for generative normalizing flows", ICML 2019.

    Example:
        >>> import torch
        >>> from logprob.flows import EmergingConv2d
        >>> layer = EmergingConv2d(3)
        >>> z, ladj = layer(torch.randn(2, 3, 4, 5))
        >>> layer.inverse(z).shape
        torch.Size([2, 3, 4, 5])
    """

    def __init__(self, channels: int, noise: float | None = None) -> None:
        first, second = AutoregressiveConv2d(channels, noise), AutoregressiveConv2d(channels, noise)
        super().__init__([Conv1x1(channels), first, Flip(), second, Flip()])


def solve_autoregressive(z: Tensor, weight: Tensor) -> Tensor:
    """The ``x`` whose 2x2 convolution, zeros in front of the first row and column, is ``z``.

    Args:
        z: images ``(B, C, H, W)``.
        weight: kernel ``(C, C, 2, 2)``, its last tap lower triangular.

    Returns:
        Images of the shape and type of ``z``, computed in float32 at least; gradients reach both arguments.
    """
    with full_precision(z):
        return _substitute(at_least_float32(z), at_least_float32(weight)).to(z.dtype)


def _substitute(z: Tensor, weight: Tensor) -> Tensor:
    batch, channels, height, width = z.shape
    corner = weight[:, :, 1, 1]
    others = torch.cat([weight[:, :, 0, 0], weight[:, :, 0, 1], weight[:, :, 1, 0]], 1)  # (C, 3C)
    both = torch.cat([others, z.transpose(0, 1).flatten(1)], 1)
    both = torch.linalg.solve_triangular(corner, both, upper=False)
    others, z = both[:, : 3 * channels], both[:, 3 * channels :].reshape(channels, batch, height, width)
    # Pixels past the right edge must stay zero, or the recurrence would go on there.
    inside = _skew(z.new_ones(height, width))
    skewed = _skew(z)  # (C, B, H, H + W - 1): column d holds the pixels with y + x = d
    zero = skewed.new_zeros(channels, batch, height + 1)  # row 0 stands for the zeros above the image
    before, last = zero, zero
    columns = []
    for d in range(height + width - 1):
        seen = torch.cat([before[..., :-1], last[..., :-1], last[..., 1:]])
        known = (others @ seen.flatten(1)).reshape(channels, batch, height)
        column = (skewed[..., d] - known) * inside[..., d]
        columns.append(column)
        before, last = last, F.pad(column, (1, 0))
    return _unskew(torch.stack(columns, -1), width).transpose(0, 1)


def _skew(images: Tensor) -> Tensor:
    """Shift row y by y to the right: ``(..., H, W)`` to ``(..., H, H + W - 1)``, zeros elsewhere."""
    height, width = images.shape[-2:]
    # Rows padded to H + W, then read with one column less, come out one step further right in every row.
    padded = F.pad(images, (0, height)).flatten(-2)
    return padded[..., :-height].unflatten(-1, (height, height + width - 1))


def _unskew(skewed: Tensor, width: int) -> Tensor:
    """Undo :func:`_skew`."""
    height = skewed.shape[-2]
    padded = F.pad(skewed.flatten(-2), (0, height))
    return padded.unflatten(-1, (height, height + width))[..., :width]
