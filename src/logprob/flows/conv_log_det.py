"""Exact log-determinants and exact inverses of convolutions that keep the image size.

======================  =================================================================================
operator                method
======================  =================================================================================
1x1                     ``H W log|det W|``: each pixel is an image of its own
circular                one C x C determinant for each frequency of the image
dilated, zero padding   every d-th pixel is an image of its own, convolved without dilation
zero padding            with a gradient, on an accelerator, or to solve for many right-hand sides: block
                        elimination of image rows (:mod:`.conv_block`). Otherwise, and where the residual of that
                        is large (which takes a kernel far from the identity): band LU on the CPU
                        (:mod:`.conv_band`)
groups                  one determinant for each group of channels
======================  =================================================================================

Everything is computed in float64. Nothing is kept between calls.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from logprob.flows.conv_band import BandFactors
from logprob.flows.conv_block import BlockFactors, eliminate
from logprob.flows.conv_geometry import ConvGeometry
from logprob.flows.inverse_kernel import kernel_spectrum
from logprob.flows.tracing import is_traced

TOLERANCE = 1e-8  # largest relative residual of a block elimination that is trusted
MANY = 32  # right-hand sides from which block elimination is the faster way to solve on a CPU
CHUNK = 256  # right-hand sides at a time in the gradient of the band path


def conv_log_det(weight: Tensor, image_size: tuple[int, int], geometry: ConvGeometry) -> Tensor:
    """``log|det T|`` of the operator of a kernel on images of a size; differentiable in the kernel.

    Where Python cannot look at the residual (``torch.compile``, ``vmap`` over kernels) there is no second path: what
    block elimination cannot do is NaN there.

    Args:
        weight: ``(C, C/groups, kh, kw)``.
        image_size: ``(H, W)``.
        geometry: kernel size, dilation, groups and padding.

    Returns:
        A scalar in nats, of the dtype of ``weight``; -inf for a singular operator.

    Example:
        >>> weight = 2 * torch.eye(3)[:, :, None, None]
        >>> round(conv_log_det(weight, (4, 5), ConvGeometry((1, 1))).item() / math.log(2), 4)
        60.0
    """
    blocks = geometry.split(weight).double()
    if geometry.circular:
        spectrum = kernel_spectrum(blocks, image_size, geometry.dilation)
        return torch.linalg.slogdet(spectrum)[1].sum().to(weight.dtype)
    rows, columns = _parts(image_size, geometry)
    sizes = Counter((height, width) for (_, height), (_, width) in product(rows, columns))
    total = sum((count * _log_det(blocks, size) for size, count in sizes.items()), blocks.new_zeros(()))
    return total.to(weight.dtype)


def conv_solve(z: Tensor, weight: Tensor, geometry: ConvGeometry) -> Tensor:
    """The ``x`` with ``T x = z``, differentiable in ``z`` and the kernel by the implicit function rule.

    Args:
        z: images ``(B, C, H, W)``.
        weight: ``(C, C/groups, kh, kw)``.
        geometry: kernel size, dilation, groups and padding.

    Returns:
        Images of the shape and dtype of ``z``; the solution is computed in float64.

    Raises:
        torch.linalg.LinAlgError: if the operator is singular.
    """
    x: Tensor = _Solve.apply(z, weight, geometry)
    return x


class _Solve(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, weight: Tensor, geometry: ConvGeometry) -> Tensor:
        blocks, right = geometry.split(weight).double(), z.double()
        if not z.numel():  # which the Fourier transform does not take
            return z.clone()
        if geometry.circular:
            x = _solve_circular(right, blocks, geometry)
        elif geometry.kernel_size == (1, 1):
            x = torch.linalg.solve(blocks[..., 0, 0], _by_group(right, geometry.groups).flatten(-2)).reshape(z.shape)
        else:
            x = _solve_parts(right, blocks, geometry)
        return x.to(z.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, weight, ctx.geometry = inputs
        ctx.save_for_backward(weight, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, x = ctx.saved_tensors
        geometry: ConvGeometry = ctx.geometry
        adjoint = conv_solve(gradient, geometry.flip(weight), geometry)
        on_weight = -geometry.kernel_gradient(adjoint, x) if ctx.needs_input_grad[1] else None
        return adjoint, on_weight, None


def _solve_circular(z: Tensor, blocks: Tensor, geometry: ConvGeometry) -> Tensor:
    spectrum = kernel_spectrum(blocks, (z.shape[2], z.shape[3]), geometry.dilation)
    right = torch.fft.fft2(_by_group(z, geometry.groups)).permute(3, 4, 1, 2, 0)  # (H, W, groups, C, B)
    x = torch.linalg.solve(spectrum, right).permute(4, 2, 3, 0, 1)
    return torch.fft.ifft2(x).real.reshape(z.shape)


def _solve_parts(z: Tensor, blocks: Tensor, geometry: ConvGeometry) -> Tensor:
    rows, columns = _parts((z.shape[2], z.shape[3]), geometry)
    down, right = len(rows), len(columns)
    x = torch.empty_like(z)
    for size in {(height, width) for (_, height), (_, width) in product(rows, columns)}:
        starts = [(r, c) for (r, height), (c, width) in product(rows, columns) if (height, width) == size]
        images = torch.stack([z[:, :, r::down, c::right] for r, c in starts])
        solved = _solve_block(images.flatten(0, 1), blocks).reshape(images.shape)
        for (r, c), part in zip(starts, solved, strict=True):
            x[:, :, r::down, c::right] = part
    return x


def _solve_block(z: Tensor, blocks: Tensor) -> Tensor:
    """Solve for images of one size, without dilation, of kernels ``(groups, C, C, kh, kw)``."""
    height, width = z.shape[-2:]
    if _transposed(blocks, (height, width)):
        return _solve_block(z.mT, blocks.mT).mT
    right = _by_group(z, len(blocks)).permute(1, 3, 4, 2, 0).flatten(1, 3)  # (groups, H W C, B)
    x = _solve_rows(right, blocks, (height, width))
    return x.unflatten(1, (height, width, -1)).permute(4, 0, 3, 1, 2).reshape(z.shape)


def _solve_rows(right: Tensor, blocks: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Right-hand sides ``(groups, N, B)``, N in the order rows, columns, channels."""
    traced = is_traced(right) or is_traced(blocks)
    if traced or not blocks.is_cpu or right.shape[-1] >= MANY:
        factors = eliminate(blocks, image_size)
        fits = _residual(factors, blocks, image_size) <= TOLERANCE
        if traced:
            return torch.where(fits, factors.solve(right), math.nan)
        if bool(fits):
            return factors.solve(right)
    return torch.stack([BandFactors(k, image_size).solve(r) for k, r in zip(blocks, right, strict=True)])


def _log_det(blocks: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Of kernels ``(groups, C, C, kh, kw)`` without dilation."""
    if _transposed(blocks, image_size):
        return _log_det(blocks.mT, image_size[::-1])
    traced, differentiable = is_traced(blocks), torch.is_grad_enabled() and blocks.requires_grad
    if traced or differentiable or not blocks.is_cpu:
        factors = eliminate(blocks, image_size)
        fits = _residual(factors, blocks, image_size) <= TOLERANCE
        if traced:
            return torch.where(fits, factors.log_det, math.nan)
        if bool(fits):
            return factors.log_det
    value: Tensor = _BandLogDet.apply(blocks, image_size)
    return value


class _BandLogDet(torch.autograd.Function):
    """Band LU; the gradient takes a solve for every unit vector: ``d log|det T| = tr(T^-1 dT)``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(blocks: Tensor, image_size: tuple[int, int]) -> Tensor:
        return blocks.new_tensor(sum(BandFactors(kernel, image_size).log_det for kernel in blocks))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        blocks, ctx.image_size = inputs
        ctx.save_for_backward(blocks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (blocks,) = ctx.saved_tensors
        return gradient * torch.stack([_trace_gradient(kernel, ctx.image_size) for kernel in blocks]), None


def _trace_gradient(kernel: Tensor, image_size: tuple[int, int]) -> Tensor:
    """``d log|det T| / dK`` of ``(C, C, kh, kw)``: the sum over unit vectors e of ``(T^-t e) e^t`` on the kernel."""
    geometry = ConvGeometry((kernel.shape[2], kernel.shape[3]))
    factors, total = BandFactors(kernel, image_size), torch.zeros_like(kernel)
    size = kernel.shape[0] * math.prod(image_size)
    for start in range(0, size, CHUNK):
        count = min(CHUNK, size - start)
        units = torch.eye(count, size, dtype=kernel.dtype, device=kernel.device).roll(start, 1)
        images = [
            rows.unflatten(1, (*image_size, -1)).permute(0, 3, 1, 2) for rows in (_adjoint(factors, units), units)
        ]
        total += geometry.kernel_gradient(*images)
    return total


def _adjoint(factors: BandFactors, units: Tensor) -> Tensor:
    return factors.solve(units.T, transposed=True).T


def _residual(factors: BlockFactors, blocks: Tensor, image_size: tuple[int, int]) -> Tensor:
    """``||T T^-1 v - v|| / ||v||`` of one vector v in general position; NaN or inf where elimination broke down."""
    with torch.no_grad():
        groups, channels = blocks.shape[:2]
        # Not from the random generator, whose stream belongs to the caller.
        v = torch.arange(1, groups * channels * math.prod(image_size) + 1, dtype=blocks.dtype, device=blocks.device)
        v = (12.9898 * v * v).sin().reshape(groups, -1, 1)
        image = factors.solve(v).reshape(groups, *image_size, channels).permute(0, 3, 1, 2)
        geometry = ConvGeometry((blocks.shape[3], blocks.shape[4]), groups=groups)
        image = image.contiguous().reshape(1, groups * channels, *image_size)
        back = geometry.apply(image, blocks.flatten(0, 1)).contiguous()
        back = back.reshape(groups, channels, *image_size).permute(0, 2, 3, 1).reshape(v.shape)
        return torch.linalg.vector_norm(back - v) / torch.linalg.vector_norm(v)


def _parts(image_size: tuple[int, int], geometry: ConvGeometry) -> tuple[list[tuple[int, int]], ...]:
    """Along each axis, the ``(start, length)`` of the images into which dilation takes the image apart.

    A kernel with a single tap along an axis keeps every row apart.
    """
    parts = []
    for size, taps, dilation in zip(image_size, geometry.kernel_size, geometry.dilation, strict=True):
        step = size if taps == 1 else min(dilation, size)
        parts.append([(start, len(range(start, size, step))) for start in range(step)])
    return tuple(parts)


def _transposed(blocks: Tensor, image_size: tuple[int, int]) -> bool:
    """Whether elimination by columns has the smaller blocks."""
    return (blocks.shape[3] // 2) * image_size[1] > (blocks.shape[4] // 2) * image_size[0]


def _by_group(z: Tensor, groups: int) -> Tensor:
    return z.unflatten(1, (groups, -1))
