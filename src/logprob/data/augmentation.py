"""Random changes of training images that keep what they show.

Augmented rows are no longer the data: use them to train on, never to report a likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from logprob.batch import Batch


class Augmentation(Protocol):
    """What changes a batch of training rows, at random and anew at every call.

    It draws from torch's global generator of the rows' device, so that ``torch.manual_seed`` repeats it, and leaves
    shape, type, context and target as they are.
    """

    def __call__(self, batch: Batch, /) -> Batch:
        """The changed batch."""
        ...


@dataclass(frozen=True)
class RandomCrop:
    """Pad each image on all sides and cut an image of the old size out of it, at a random place.

    Equal to a shift by ``(i, j)``, each uniform on ``-padding..padding`` and drawn for each image of its own. Any
    type: pixels are copied, never computed with.

    Args:
        image_shape: ``(channels, height, width)`` of a flattened row.
        padding: pixels.
        mode: what lies beyond the border: "reflect" (mirrored, the border itself not repeated) or "edge".

    Raises:
        ValueError: if ``padding`` is negative, or too large to reflect, or the mode is unknown; when called, if rows
            have another length.

    Example:
        >>> crop = RandomCrop(image_shape=(1, 28, 28))
        >>> crop(Batch(torch.zeros(5, 784, dtype=torch.uint8))).x.shape
        torch.Size([5, 784])
    """

    image_shape: Sequence[int]
    padding: int = 1
    mode: Literal["reflect", "edge"] = "reflect"

    def __post_init__(self) -> None:
        _, height, width = _checked(self.image_shape)
        if self.mode not in ("reflect", "edge"):
            raise ValueError(f"mode must be 'reflect' or 'edge', got {self.mode!r}")
        limit = min(height, width) if self.mode == "reflect" else self.padding + 1
        if not 0 <= self.padding < limit:
            raise ValueError(f"padding must be at least 0 and, to reflect, below the image's sides; got {self.padding}")

    def __call__(self, batch: Batch, /) -> Batch:
        """The batch with each image shifted."""
        _, height, width = self.image_shape
        draw = (-self.padding, self.padding + 1, (len(batch.x), 1))
        down, right = (torch.randint(*draw, device=batch.x.device) for _ in range(2))
        rows = _within(torch.arange(height, device=batch.x.device) + down, height, self.mode)
        columns = _within(torch.arange(width, device=batch.x.device) + right, width, self.mode)
        return batch._replace(x=_gathered(batch.x, self.image_shape, rows, columns))


@dataclass(frozen=True)
class FlipAndTranslate:
    """Mirror each image left to right with probability 1/2, and shift it a little; edges are repeated.

    The recipe of the CIFAR-10 flows: flip, pad by repeating the edge, translate, cut out the centre, flip. Two fair
    flips are one fair flip, so it is drawn once. The shift along a side of S pixels is ``round(U(-m, m))`` with
    ``m = translate * (S + 2 padding)``, the share of the padded side. For 32 pixels and the defaults, m = 1.44:
    -1, 0 and 1 with probabilities 0.33, 0.35, 0.33.

    Args:
        image_shape: ``(channels, height, width)`` of a flattened row.
        translate: largest shift as a share of the padded side, in [0, 1).
        padding: pixels; it only enlarges the side that the share refers to, as edges repeat without end.

    Raises:
        ValueError: if ``translate`` or ``padding`` is out of its range; when called, if rows have another length.

    Example:
        >>> change = FlipAndTranslate(image_shape=(3, 32, 32))
        >>> change(Batch(torch.zeros(5, 3072))).x.shape
        torch.Size([5, 3072])
    """

    image_shape: Sequence[int]
    translate: float = 0.04
    padding: int = 2

    def __post_init__(self) -> None:
        _checked(self.image_shape)
        if not 0 <= self.translate < 1 or self.padding < 0:
            raise ValueError(
                f"translate must lie in [0, 1) and padding be at least 0, got {self.translate} and {self.padding}"
            )

    def __call__(self, batch: Batch, /) -> Batch:
        """The batch with each image shifted and perhaps mirrored."""
        _, height, width = self.image_shape
        rows, columns = self._shifted(height, batch.x), self._shifted(width, batch.x)
        flip = torch.randint(2, (len(batch.x), 1), device=batch.x.device) == 1
        columns = torch.where(flip, columns.flip(-1), columns)
        return batch._replace(x=_gathered(batch.x, self.image_shape, rows, columns))

    def _shifted(self, side: int, x: Tensor) -> Tensor:
        most = self.translate * (side + 2 * self.padding)
        shift = (most * (2 * torch.rand(len(x), 1, device=x.device) - 1)).round().long()
        return _within(torch.arange(side, device=x.device) + shift, side, "edge")


def _checked(image_shape: Sequence[int]) -> Sequence[int]:
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape must be (channels, height, width), got {tuple(image_shape)}")
    return image_shape


def _within(index: Tensor, side: int, mode: str) -> Tensor:
    """Places beyond the border, as places on the image."""
    if mode == "edge":
        return index.clamp(0, side - 1)
    index = index.abs()
    return torch.where(index < side, index, 2 * (side - 1) - index)


def _gathered(x: Tensor, image_shape: Sequence[int], rows: Tensor, columns: Tensor) -> Tensor:
    """Pixel ``(rows[b, i], columns[b, j])`` of image b at ``(i, j)``, for all channels, as flattened rows."""
    channels, height, width = image_shape
    if x.shape[1:] != (channels * height * width,):
        expected = f"(N, {channels * height * width})"
        raise ValueError(f"expected rows {expected} of images {tuple(image_shape)}, got {tuple(x.shape)}")
    place = (rows[:, :, None] * width + columns[:, None, :]).reshape(len(x), 1, height * width)
    planes = x.reshape(len(x), channels, height * width)
    return planes.gather(-1, place.expand(-1, channels, -1)).reshape(x.shape)
