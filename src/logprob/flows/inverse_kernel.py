"""The small kernel whose convolution comes closest to the inverse of another's."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from logprob.flows.conv_geometry import ConvGeometry


def fourier_inverse_kernel(
    weight: Tensor, grid: tuple[int, int], groups: int = 1, dilation: tuple[int, int] = (1, 1)
) -> Tensor:
    """Invert on the torus of size ``grid``, and keep the taps that the kernel has.

    ``K_R[o, c, i, j] = mean_w (Khat(w)^-1)[o, c] exp(-i w . d_ij)``, ``Khat(w) = sum_ij K[:, :, i, j] exp(i w . d_ij)``
    with ``d_ij`` the offset of a tap from the centre. Of the small kernels this one gives the best gradient of the
    log-determinant. For an image with a border of zeros take a grid of :func:`padded_grid`; on the grid of the image
    itself, which is right for circular padding, offsets run into each other where the image is small.

    Args:
        weight: ``(C, C/groups, kh, kw)``, odd ``kh`` and ``kw``.
        grid: size of the torus.
        groups: number of groups of channels.
        dilation: distance of neighbouring taps along each axis.

    Returns:
        The kernel of the inverse, of the shape and dtype of ``weight``; computed in float64.

    Raises:
        torch.linalg.LinAlgError: if a frequency of the grid is annihilated.

    Example:
        >>> kernel = torch.zeros(1, 1, 3, 3)
        >>> kernel[0, 0, 1, 1] = 4.0
        >>> fourier_inverse_kernel(kernel, (12, 12))[0, 0, 1, 1].item()
        0.25
    """
    blocks = weight.unflatten(0, (groups, -1)).to(torch.float64)
    spectrum = kernel_spectrum(blocks, grid, dilation)
    image = torch.fft.ifft2(torch.linalg.inv(spectrum), dim=(0, 1)).real  # (H, W, groups, C, C)
    rows, columns = _places(blocks, grid, dilation)
    return image[rows, columns].permute(2, 3, 4, 0, 1).reshape(weight.shape).to(weight.dtype)


def least_squares_inverse_kernel(weight: Tensor, groups: int = 1) -> Tensor:
    """The kernel with ``||K_R * K - delta||^2`` least over all ``(2 kh - 1)(2 kw - 1)`` taps of the product.

    Of the small kernels this one reconstructs best; the gradient it gives is a little worse than that of
    :func:`fourier_inverse_kernel`. Dilation makes no difference to it.

    Args:
        weight: ``(C, C/groups, kh, kw)``.
        groups: number of groups of channels.

    Returns:
        The kernel of the inverse, of the shape and dtype of ``weight``; computed in float64.
    """
    blocks = weight.unflatten(0, (groups, -1)).to(torch.float64)
    _, channels, _, kh, kw = blocks.shape
    taps = kh * kw
    # One row for each tap and input channel of the product, one column for each tap and channel of the answer.
    system = blocks.new_zeros(groups, 2 * kh - 1, 2 * kw - 1, channels, kh, kw, channels)
    for i in range(kh):
        for j in range(kw):
            system[:, i : i + kh, j : j + kw, :, i, j, :] = blocks.permute(0, 3, 4, 2, 1)
    delta = blocks.new_zeros(groups, 2 * kh - 1, 2 * kw - 1, channels, channels)
    delta[:, kh - 1, kw - 1] = torch.eye(channels, dtype=blocks.dtype, device=blocks.device)
    rows = (2 * kh - 1) * (2 * kw - 1) * channels
    answer = torch.linalg.lstsq(system.reshape(groups, rows, taps * channels), delta.reshape(groups, rows, channels))
    kernel = answer.solution.reshape(groups, kh, kw, channels, channels).permute(0, 4, 3, 1, 2)
    return kernel.reshape(weight.shape).to(weight.dtype)


def best_inverse_kernel(weight: Tensor, image_size: tuple[int, int], geometry: ConvGeometry) -> Tensor:
    """The kernel for images of a size whose gradient is best: :func:`fourier_inverse_kernel` on the right grid.

    Where a frequency of the grid is annihilated, or nearly so, that kernel is far from an inverse though the operator
    may have one; :func:`least_squares_inverse_kernel` is then taken if its residual is the smaller.

    Raises:
        torch.linalg.LinAlgError: if neither is better than no kernel at all, or for a 1x1 kernel that is singular.
    """
    if geometry.kernel_size == (1, 1):
        return fourier_inverse_kernel(weight, (1, 1), geometry.groups)
    try:
        kernel = _fourier_for_images(weight, image_size, geometry)
        residual = inverse_residual(weight, kernel, image_size, geometry)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        residual = math.inf
    if residual <= 1:
        return kernel
    if bool(weight.isfinite().all()):
        other = least_squares_inverse_kernel(weight, geometry.groups)
        if inverse_residual(weight, other, image_size, geometry) < min(residual, 1):
            return other
    raise torch.linalg.LinAlgError(  # type: ignore[attr-defined]
        "no small kernel comes near an inverse of this convolution: its weight is singular, or not finite"
    )


def inverse_residual(weight: Tensor, inverse: Tensor, image_size: tuple[int, int], geometry: ConvGeometry) -> float:
    """``mean_c ||e_c - R * W * e_c||^2`` of an image ``e_c`` that is one in channel c of its central pixel.

    Zero for an inverse, 1 for ``R = 0``, NaN where something is not finite. The border of an image with zero padding
    is left out.

    Args:
        weight: ``(C, C/groups, kh, kw)``.
        inverse: ``R``, of the same shape.
        image_size: ``(H, W)``; matters for circular padding.
        geometry: kernel size, dilation, groups and padding.
    """
    channels = len(weight)
    if not geometry.circular:
        geometry = geometry._replace(dilation=(1, 1))
    height, width = (4 * padding + 1 for padding in geometry.padding)  # as far as the taps of the product reach
    if geometry.circular:
        height, width = min(height, image_size[0]), min(width, image_size[1])
    images = torch.zeros(channels, channels, height, width, dtype=torch.float64, device=weight.device)
    images[:, :, height // 2, width // 2] = torch.eye(channels, dtype=torch.float64, device=weight.device)
    back = geometry.apply(geometry.apply(images, weight.double()), inverse.double())
    return ((back - images).square().sum() / channels).item()


def _fourier_for_images(weight: Tensor, image_size: tuple[int, int], geometry: ConvGeometry) -> Tensor:
    if geometry.circular:
        return fourier_inverse_kernel(weight, image_size, geometry.groups, geometry.dilation)
    # Dilation takes an image apart into smaller ones, on each of which the kernel acts without it.
    height, width = (-(-size // step) for size, step in zip(image_size, geometry.dilation, strict=True))
    return fourier_inverse_kernel(weight, padded_grid((height, width)), geometry.groups)


def padded_grid(image_size: tuple[int, int]) -> tuple[int, int]:
    """Three times the image, and at least 12 along each axis: there the border of zeros is far from itself."""
    return max(3 * image_size[0], 12), max(3 * image_size[1], 12)


def kernel_spectrum(blocks: Tensor, grid: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
    """``Khat`` of kernels ``(groups, C, C, kh, kw)`` at every frequency, ``(H, W, groups, C, C)``, complex."""
    rows, columns = _places(blocks, grid, dilation)
    taps = blocks.permute(3, 4, 0, 1, 2)
    image = blocks.new_zeros(*grid, *taps.shape[2:]).index_put((rows, columns), taps, accumulate=True)
    return torch.fft.fft2(image, dim=(0, 1))


def _places(blocks: Tensor, grid: tuple[int, int], dilation: tuple[int, int]) -> Any:
    """Rows ``(kh, 1)`` and columns ``(1, kw)`` of the taps on the torus.

    A tap reads ahead (cross-correlation) while the transform has ``exp(-i w d)``, so places count backwards.
    """
    kh, kw = blocks.shape[-2:]
    rows, columns = (
        (taps // 2 - torch.arange(taps, device=blocks.device)) * step % size
        for taps, size, step in ((kh, grid[0], dilation[0]), (kw, grid[1], dilation[1]))
    )
    return rows[:, None], columns[None, :]
