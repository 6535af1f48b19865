"""Convolutional networks from an image to a vector and back, on flattened rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from logprob.nn.mlp import MLP, Nonlinearity, check_widths, nonlinearity
from logprob.nn.start import Start, start_from

Padding = Literal["same", "valid"]


class ConvEncoder(nn.Module):
    """Convolutions, then linear layers: from flattened images to vectors.

    The nonlinearity follows every layer but the last. With padding "same" a layer makes ``ceil(side / stride)`` pixels
    of a side, zeros being set around the image, the odd one at the lower right; with "valid"
    ``floor((side - kernel_size) / stride) + 1``.

    Args:
        inputs: number of pixels, channels included.
        outputs: number of outputs.
        image_shape: ``(channels, height, width)`` of a row.
        channels: of each convolution.
        kernel_size: side of the square kernels.
        stride: of every convolution.
        padding: "same" or "valid".
        hidden: widths of the linear layers before the last.
        activation: the nonlinearity.
        init: start of the weights, see :func:`start_from`.

    Raises:
        ValueError: if ``image_shape`` does not have ``inputs`` pixels, or nothing is left of the image, for a number
            below one or an unknown name.

    Example:
        >>> import torch
        >>> ConvEncoder(784, 10, image_shape=(1, 28, 28))(torch.rand(5, 784)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        image_shape: Sequence[int],
        channels: Sequence[int] = (32, 64),
        kernel_size: int = 3,
        stride: int = 2,
        padding: Padding = "same",
        hidden: Sequence[int] = (),
        activation: Nonlinearity = "relu",
        init: Start = "torch",
    ) -> None:
        super().__init__()
        check_widths([*channels, stride, kernel_size])
        if padding not in ("same", "valid"):
            raise ValueError(f"padding must be 'same' or 'valid', got {padding!r}")
        self.image_shape = _image_shape(image_shape, inputs)
        make = nonlinearity(activation)
        layers: list[nn.Module] = []
        depth, *sides = self.image_shape
        for width in channels:
            layers += _shrinking(depth, width, kernel_size, stride, sides, padding)
            layers.append(make())
            depth, sides = width, [_shrunk(side, kernel_size, stride, padding) for side in sides]
            if min(sides) < 1:
                raise ValueError(f"nothing is left of images of shape {self.image_shape}: fewer or smaller layers")
        self.convolutions = nn.Sequential(*layers)
        self.head = MLP(depth * math.prod(sides), outputs, hidden, activation)
        start_from(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors ``(..., outputs)`` of rows ``(..., inputs)``."""
        batch = x.shape[:-1]
        images = x.reshape(batch.numel(), *self.image_shape)
        out: Tensor = self.head(self.convolutions(images).flatten(1))
        return out.reshape(*batch, out.shape[-1])


class ConvDecoder(nn.Module):
    """Linear layers, then transposed convolutions: from vectors to the parameters of flattened images.

    The linear layers make an image of ``channels[0]`` channels whose sides are those of ``image_shape`` divided by the
    product of the strides. Layer i makes ``channels[i + 1]`` channels of it, and every side ``strides[i]`` times as
    long; the last one makes P channels for each of the image's. The nonlinearity follows every layer but the last.

    Args:
        inputs: length of a vector.
        outputs: P times the number of pixels, channels included.
        image_shape: ``(channels, height, width)`` of the images.
        channels: of the first image, and of those between the convolutions.
        kernel_size: side of the square kernels, at least that of every stride.
        strides: of each transposed convolution, as many as ``channels``.
        hidden: widths of the linear layers before the first image.
        activation: the nonlinearity.
        final_activation: one for the outputs too, or none.
        init: start of the weights, see :func:`start_from`.

    Raises:
        ValueError: if ``outputs`` is no multiple of the pixels of ``image_shape``, or a side none of the strides'
            product, if ``channels`` and ``strides`` differ in number, a stride is larger than ``kernel_size``, for a
            number below one or an unknown name.

    Example:
        >>> import torch
        >>> ConvDecoder(20, 2 * 784, image_shape=(1, 28, 28))(torch.randn(3, 5, 20)).shape
        torch.Size([3, 5, 1568])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        image_shape: Sequence[int],
        channels: Sequence[int] = (32, 64, 32),
        kernel_size: int = 3,
        strides: Sequence[int] = (2, 2, 1),
        hidden: Sequence[int] = (),
        activation: Nonlinearity = "relu",
        final_activation: Nonlinearity | None = None,
        init: Start = "torch",
    ) -> None:
        super().__init__()
        check_widths([*channels, *strides, kernel_size])
        _check_strides(channels, strides, kernel_size)
        pixels = math.prod(image_shape)
        self.image_shape, self.outputs = _image_shape(image_shape, pixels), outputs
        if outputs < 1 or outputs % pixels:
            raise ValueError(f"outputs must be a multiple of the {pixels} pixels of an image, got {outputs}")
        depth, *sides = self.image_shape
        growth = math.prod(strides)
        if any(side % growth for side in sides):
            raise ValueError(f"the sides of {self.image_shape} must be multiples of the strides' product, {growth}")
        self.small_shape = (channels[0], *(side // growth for side in sides))
        self.linear = MLP(inputs, math.prod(self.small_shape), hidden, activation, final_activation=activation)
        layers: list[nn.Module] = []
        for (before, after), stride in zip(pairwise([*channels, outputs // pixels * depth]), strides, strict=True):
            layers += [_Enlarge(before, after, kernel_size, stride), nonlinearity(activation)()]
        last = [] if final_activation is None else [nonlinearity(final_activation)()]
        self.convolutions = nn.Sequential(*layers[:-1], *last)
        start_from(self, init)

    def forward(self, z: Tensor) -> Tensor:
        """Rows ``(..., P pixels)`` of vectors ``(..., inputs)``: one parameter of all pixels, then the next."""
        batch = z.shape[:-1]
        small = self.linear(z.reshape(batch.numel(), z.shape[-1])).unflatten(-1, self.small_shape)
        images: Tensor = self.convolutions(small)
        return images.reshape(*batch, self.outputs)


class _Enlarge(nn.ConvTranspose2d):
    """The transpose of a "same" convolution: sides become exactly ``stride`` times as long."""

    def __init__(self, before: int, after: int, kernel_size: int, stride: int) -> None:
        super().__init__(before, after, kernel_size, stride, padding=(kernel_size - stride) // 2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The image; where kernel and stride differ by an odd number, a last row and column are one too many."""
        height, width = (side * stride for side, stride in zip(x.shape[-2:], self.stride, strict=True))
        return super().forward(x, output_size)[..., :height, :width]


def _shrunk(side: int, kernel_size: int, stride: int, padding: Padding) -> int:
    """Length of a side after a convolution."""
    return math.ceil(side / stride) if padding == "same" else (side - kernel_size) // stride + 1


def _shrinking(
    depth: int, width: int, kernel_size: int, stride: int, sides: Sequence[int], padding: Padding
) -> list[nn.Module]:
    """A convolution, after zeros at the lower right where the zeros around the image cannot be equal on both sides."""
    if padding == "valid":
        return [nn.Conv2d(depth, width, kernel_size, stride)]
    zeros = [max((math.ceil(side / stride) - 1) * stride + kernel_size - side, 0) for side in sides]
    around = (zeros[0] // 2, zeros[1] // 2)
    convolution = nn.Conv2d(depth, width, kernel_size, stride, around)
    odd = [zero % 2 for zero in zeros]
    return [nn.ZeroPad2d((0, odd[1], 0, odd[0])), convolution] if any(odd) else [convolution]


def _image_shape(image_shape: Sequence[int], pixels: int) -> tuple[int, int, int]:
    if len(image_shape) != 3 or min(image_shape) < 1 or math.prod(image_shape) != pixels:
        raise ValueError(f"image_shape must be (channels, height, width) of {pixels} pixels, got {tuple(image_shape)}")
    channels, height, width = image_shape
    return channels, height, width


def _check_strides(channels: Sequence[int], strides: Sequence[int], kernel_size: int) -> None:
    if not channels or len(channels) != len(strides):
        raise ValueError(f"expected a stride for each of channels {list(channels)}, got {list(strides)}")
    if max(strides) > kernel_size:
        raise ValueError(f"strides must be at most kernel_size={kernel_size}, got {list(strides)}")
