"""Layers that only rearrange: log-determinant zero."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from logprob.flows.base import FlowLayer, InverseMethod


class Squeeze(FlowLayer):
    """Squares of pixels become channels: ``(C, H, W)`` to ``(C f^2, H / f, W / f)``.

    Pixel ``(f y + dy, f x + dx)`` of channel ``c`` becomes pixel ``(y, x)`` of channel ``f^2 c + f dy + dx``.

    Args:
        factor: side ``f`` of a square.

    Raises:
        ValueError: for images whose sides ``f`` does not divide.

    References:
        Dinh, Sohl-Dickstein, Bengio, "Density Estimation Using Real NVP", ICLR 2017.

    Example:
        >>> Squeeze().output_shape((1, 28, 28))
        (4, 14, 14)
    """

    event_dim = 3

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        if factor < 1:
            raise ValueError(f"factor must be at least 1, got {factor}")
        self.factor = factor

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The rearranged images, and zeros."""
        shape, side = self.output_shape(tuple(x.shape[1:])), self.factor
        # Not torch's pixel_unshuffle: on a CPU it takes longer, and it leaves an empty batch as it is.
        squares = x.reshape(len(x), x.shape[1], shape[1], side, shape[2], side)
        return squares.permute(0, 1, 3, 5, 2, 4).reshape(len(x), *shape), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The images."""
        shape, side = self.input_shape(tuple(z.shape[1:])), self.factor
        squares = z.reshape(len(z), shape[0], side, side, *z.shape[2:])
        return squares.permute(0, 1, 4, 2, 5, 3).reshape(len(z), *shape)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """``(C f^2, H / f, W / f)``."""
        channels, height, width = image_shape_of(shape)
        if height % self.factor or width % self.factor:
            raise ValueError(f"height and width must be multiples of {self.factor}, got {height} x {width}")
        return channels * self.factor**2, height // self.factor, width // self.factor

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """``(C / f^2, H f, W f)``."""
        channels, height, width = image_shape_of(shape)
        if channels % self.factor**2:
            raise ValueError(f"the number of channels must be a multiple of {self.factor**2}, got {channels}")
        return channels // self.factor**2, height * self.factor, width * self.factor

    def extra_repr(self) -> str:
        """The factor."""
        return f"factor={self.factor}"


class Unsqueeze(FlowLayer):
    """The inverse of :class:`Squeeze`: channels become squares of pixels.

    Args:
        factor: side of a square.

    Raises:
        ValueError: for a number of channels that is no multiple of ``factor^2``.

    Example:
        >>> Unsqueeze().output_shape((4, 14, 14))
        (1, 28, 28)
    """

    event_dim = 3

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self._squeeze = Squeeze(factor)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The rearranged images, and zeros."""
        return self._squeeze.inverse(x), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The images before."""
        return self._squeeze(z)[0]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """``(C / f^2, H f, W f)``."""
        return self._squeeze.input_shape(shape)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """``(C f^2, H / f, W / f)``."""
        return self._squeeze.output_shape(shape)


class Flatten(FlowLayer):
    """Images ``(C, H, W)``, or any other shape, as vectors, row-major.

    Args:
        image_shape: of the input.

    Raises:
        ValueError: for rows of another shape.

    Example:
        >>> Flatten((3, 4, 4)).output_shape((3, 4, 4))
        (48,)
    """

    def __init__(self, image_shape: Sequence[int]) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        if not self.image_shape or min(self.image_shape) < 1:
            raise ValueError(f"image_shape must hold positive sizes, got {self.image_shape}")
        self.event_dim, self.output_dim = len(self.image_shape), 1

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The vectors, and zeros."""
        self.output_shape(tuple(x.shape[1:]))
        return x.flatten(1), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The images."""
        return z.reshape(-1, *self.input_shape(tuple(z.shape[1:])))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(C H W,)``."""
        if tuple(shape) != self.image_shape:
            raise ValueError(f"expected an event of shape {self.image_shape}, got {tuple(shape)}")
        return (math.prod(self.image_shape),)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``image_shape``."""
        if tuple(shape) != (math.prod(self.image_shape),):
            raise ValueError(f"expected a vector of length {math.prod(self.image_shape)}, got shape {tuple(shape)}")
        return self.image_shape

    def extra_repr(self) -> str:
        """The shape of an image."""
        return str(self.image_shape)


class Unflatten(FlowLayer):
    """Vectors as images ``(C, H, W)``, row-major; the inverse of :class:`Flatten`.

    Args:
        image_shape: of the output.

    Raises:
        ValueError: for vectors of another length.

    Example:
        >>> Unflatten((1, 28, 28)).input_shape((1, 28, 28))
        (784,)
    """

    def __init__(self, image_shape: Sequence[int]) -> None:
        super().__init__()
        self._flatten = Flatten(image_shape)
        self.output_dim = self._flatten.event_dim

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The images, and zeros."""
        return self._flatten.inverse(x), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The vectors."""
        return self._flatten(z)[0]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``image_shape``."""
        return self._flatten.input_shape(shape)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(C H W,)``."""
        return self._flatten.output_shape(shape)


def image_shape_of(shape: Sequence[int]) -> tuple[int, int, int]:
    """``shape`` as ``(channels, height, width)``.

    Raises:
        ValueError: if it is not of that form.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"an image has the shape (channels, height, width), got {tuple(shape)}")
    channels, height, width = shape
    return channels, height, width
