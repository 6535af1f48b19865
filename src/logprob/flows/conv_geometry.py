"""A convolution that keeps the image size, as a linear operator: its products, its transpose, its kernel gradient."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight


def tap_counts(
    kernel_size: tuple[int, int],
    image_size: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
    device: torch.device | None = None,
) -> Tensor:
    """Number of output positions at which each tap of a zero-padded kernel reads inside the image.

    ``m[i, j] = n(i) n(j)``, ``n(i) = #{o : 0 <= o + d i - p < H}`` over the output rows ``o``.

    Args:
        kernel_size: ``(kh, kw)``.
        image_size: ``(H, W)`` of the input.
        padding: zeros on either side of each axis.
        dilation: distance of neighbouring taps along each axis.
        device: of the result.

    Returns:
        Integers of shape ``(kh, kw)``.

    Example:
        >>> tap_counts((3, 3), (6, 6), (1, 1))
        tensor([[25, 30, 25],
                [30, 36, 30],
                [25, 30, 25]])
    """
    rows, columns = (_counts(*axis, device) for axis in zip(kernel_size, image_size, padding, dilation, strict=True))
    return torch.outer(rows, columns)


def _counts(taps: int, size: int, padding: int, dilation: int, device: torch.device | None) -> Tensor:
    outputs = size + 2 * padding - dilation * (taps - 1)
    offset = torch.arange(taps, device=device) * dilation - padding
    return ((size - offset).clamp(max=outputs) - (-offset).clamp(min=0)).clamp(min=0)


class ConvGeometry(NamedTuple):
    """Everything about a convolution but its kernel: odd kernel, stride 1, output as large as the input.

    Args:
        kernel_size: ``(kh, kw)``, both odd.
        dilation: distance of neighbouring taps along each axis.
        groups: number of groups of channels, each mapped to itself.
        circular: whether the image continues periodically beyond its border; zeros otherwise.
    """

    kernel_size: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    circular: bool = False

    @property
    def padding(self) -> tuple[int, int]:
        """Rows and columns added on either side."""
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return dh * (kh - 1) // 2, dw * (kw - 1) // 2

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """``T x + b`` of images ``(B, C, H, W)``, ``T`` the operator of ``weight`` ``(C, C/groups, kh, kw)``."""
        if self._pointwise:
            z = torch.matmul(weight[:, :, 0, 0], x.flatten(2)).reshape(x.shape)
            return z if bias is None else z + bias[:, None, None]
        padding = 0 if self.circular else self.padding
        return F.conv2d(self._pad(x), weight, bias, padding=padding, dilation=self.dilation, groups=self.groups)

    def transpose(self, z: Tensor, weight: Tensor) -> Tensor:
        """``T^t z``: the forward product of the flipped kernel, on a CPU several times faster than torch's own."""
        return self.apply(z, self.flip(weight))

    def kernel_gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Gradient of ``<gradient, T x>`` in the kernel."""
        channels = x.shape[1]
        if self._pointwise:
            return torch.bmm(gradient.flatten(2), x.flatten(2).mT).sum(0)[:, :, None, None]
        shape = (channels, channels // self.groups, *self.kernel_size)
        padding = 0 if self.circular else self.padding
        return conv2d_weight(self._pad(x), shape, gradient, padding=padding, dilation=self.dilation, groups=self.groups)

    def flip(self, weight: Tensor) -> Tensor:
        """Kernel of the transposed operator: both spatial axes reversed, input and output channels swapped."""
        swapped = self.split(weight).transpose(1, 2).flip(-2, -1)
        return swapped.reshape(weight.shape)

    def split(self, weight: Tensor) -> Tensor:
        """The kernel by groups, ``(groups, C/groups, C/groups, kh, kw)``."""
        return weight.unflatten(0, (self.groups, -1))

    def counts(self, image_size: tuple[int, int], like: Tensor) -> Tensor:
        """How many positions each tap serves, ``(kh, kw)``, of the dtype and device of ``like``."""
        if self.circular:
            return like.new_full(self.kernel_size, image_size[0] * image_size[1])
        return tap_counts(self.kernel_size, image_size, self.padding, self.dilation, like.device).to(like.dtype)

    @property
    def _pointwise(self) -> bool:
        return self.kernel_size == (1, 1) and self.groups == 1

    def _pad(self, x: Tensor) -> Tensor:
        ph, pw = self.padding
        return F.pad(x, (pw, pw, ph, ph), mode="circular") if self.circular and (ph or pw) else x


def same_size(
    channels: int,
    kernel_size: int | tuple[int, int],
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | Literal["same"] = "same",
) -> ConvGeometry:
    """The geometry of a convolution given by the arguments of ``nn.Conv2d``, if it can be invertible.

    Raises:
        ValueError: saying why it cannot.
    """
    geometry = ConvGeometry(_pair(kernel_size), _pair(dilation), groups, padding_mode == "circular")
    if padding_mode not in ("zeros", "circular"):
        raise ValueError(f"padding_mode must be zeros or circular, got {padding_mode!r}")
    if any(taps < 1 or taps % 2 == 0 for taps in geometry.kernel_size):
        raise ValueError(f"kernel sizes must be odd, so that the output is as large as the input, got {kernel_size}")
    if min(geometry.dilation) < 1:
        raise ValueError(f"dilation must be at least 1, got {dilation}")
    if channels < 1 or groups < 1 or channels % groups:
        raise ValueError(f"groups must divide channels, got {groups} groups of {channels} channels")
    if _pair(stride) != (1, 1):
        raise ValueError(f"stride must be 1: the output of an invertible map is as large as its input, got {stride}")
    if padding != "same" and (isinstance(padding, str) or _pair(padding) != geometry.padding):
        raise ValueError(
            f"padding must be 'same' or {geometry.padding}, so that the image keeps its size, got {padding!r}"
        )
    return geometry


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
