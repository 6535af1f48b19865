"""Zero-padded convolutions as block-tridiagonal matrices: determinants and solves by elimination of image rows.

A group of ``p = kh // 2`` image rows (``kh`` the height of the kernel) reads itself and the groups above and below,
so the matrix of the convolution is block tridiagonal with blocks ``L, D, U``, the same in every place. Elimination
from the top, ``S_1 = D`` and ``S_{y+1} = D - L S_y^-1 U``, gives ``log|det T| = sum_y log|det S_y|`` in
``14/3 H (C W)^3`` operations where a dense determinant takes ``2/3 (C H W)^3``. Pivoting stays inside the blocks, so
callers check :meth:`BlockFactors.residual`. Plain torch: differentiable, on any device.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

SMALL = 60  # smallest block that is worth its own calls


class BlockFactors(NamedTuple):
    """Elimination of one convolution.

    Args:
        log_det: ``log|det T|``, the sum over groups of channels; differentiable in the kernel.
        inverses: ``S_y^-1`` from the top, each ``(groups, n, n)``.
        lower: block ``L``, ``(groups, n, n)``; the last group of rows may use a part of it.
        upper: block ``U``.
    """

    log_det: Tensor
    inverses: list[Tensor]
    lower: Tensor
    upper: Tensor

    def solve(self, z: Tensor) -> Tensor:
        """``T^-1 z`` for right-hand sides ``(groups, N, B)``, N in the order rows, columns, channels."""
        parts = list(z.split([inverse.shape[-1] for inverse in self.inverses], dim=1))
        for y in range(1, len(parts)):
            above, rows = self.inverses[y - 1] @ parts[y - 1], parts[y].shape[1]
            parts[y] = parts[y] - self.lower[:, :rows] @ above
        parts[-1] = self.inverses[-1] @ parts[-1]
        for y in range(len(parts) - 2, -1, -1):
            rows = parts[y + 1].shape[1]
            parts[y] = self.inverses[y] @ (parts[y] - self.upper[:, :, :rows] @ parts[y + 1])
        return torch.cat(parts, dim=1)


def eliminate(kernel: Tensor, image_size: tuple[int, int]) -> BlockFactors:
    """Factorise the convolution of zero-padded images.

    Args:
        kernel: ``(groups, C, C, kh, kw)``, odd ``kh`` and ``kw``, in float64.
        image_size: ``(H, W)``; the cost grows as the cube of ``W``.
    """
    height, width = image_size
    # Rows in a block: those that the kernel needs, or more where a block would be too small to be worth a call.
    group = min(max(kernel.shape[3] // 2, SMALL // (width * kernel.shape[1]), 1), height)
    diagonal, lower, upper = (row_block(kernel, group, shift, width) for shift in (0, -group, group))
    unit = diagonal.shape[-1] // group
    inverses: list[Tensor] = []
    log_det = kernel.new_zeros(kernel.shape[0])
    for top in range(0, height, group):
        rows = unit * min(group, height - top)
        schur = diagonal[:, :rows, :rows]
        if inverses:
            schur = schur - lower[:, :rows] @ inverses[-1] @ upper[:, :, :rows]
        step, inverse = _log_det_and_inverse(schur)
        log_det = log_det + step
        inverses.append(inverse)
    return BlockFactors(log_det.sum(), inverses, lower, upper)


def row_block(kernel: Tensor, rows: int, shift: int, width: int) -> Tensor:
    """The part of the matrix by which ``rows`` image rows read the rows that lie ``shift`` further down.

    Returns:
        ``(groups, n, n)`` with ``n = rows * width * C``, in the order rows, columns, channels.
    """
    groups, channels = kernel.shape[:2]
    wide = torch.nn.functional.pad(kernel, (0, 1, 0, 1))  # a tap of zero at the end, for pairs out of reach
    vertical = _taps(rows, shift, kernel.shape[3], kernel.device)
    horizontal = _taps(width, 0, kernel.shape[4], kernel.device)
    wide = wide.index_select(3, vertical).index_select(4, horizontal)
    blocks = wide.reshape(groups, channels, channels, rows, rows, width, width)
    size = rows * width * channels
    return blocks.permute(0, 3, 5, 1, 4, 6, 2).reshape(groups, size, size)


def _taps(size: int, shift: int, taps: int, device: torch.device) -> Tensor:
    """For every pair (output, input) of positions the tap between them, ``taps`` where there is none."""
    place = torch.arange(size, device=device)
    tap = place + shift - place[:, None] + taps // 2
    return torch.where((tap >= 0) & (tap < taps), tap, taps).flatten()


def _log_det_and_inverse(matrix: Tensor) -> tuple[Tensor, Tensor]:
    if torch.compiler.is_compiling():  # which takes no functions of our own
        return torch.linalg.slogdet(matrix)[1], torch.linalg.inv_ex(matrix)[0]
    log_det, inverse = _LogDetInverse.apply(matrix)
    return log_det, inverse


class _LogDetInverse(torch.autograd.Function):
    """``(log|det S|, S^-1)`` of one LU factorisation, with the inverse used again by the backward pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor) -> tuple[Tensor, Tensor]:
        factors, pivots, _ = torch.linalg.lu_factor_ex(matrix)
        identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand(matrix.shape)
        log_det = factors.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
        return log_det, torch.linalg.lu_solve(factors, pivots, identity)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, log_det_gradient: Tensor, inverse_gradient: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        adjoint = inverse.mT
        return log_det_gradient[..., None, None] * adjoint - adjoint @ inverse_gradient @ adjoint
