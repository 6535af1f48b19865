"""Zero-padded convolutions as band matrices: determinants and solves by LAPACK's LU with full partial pivoting.

Slower than :mod:`logprob.flows.conv_block` where there is a gradient, and on the CPU only, but safe for every
invertible kernel. In the order rows, columns, channels the half-bandwidth is ``b = C (p_h W + p_w) + C - 1``; the
factors take ``(3 b + 1) C H W`` numbers, the factorisation between 2 and 4 ``C H W b^2`` operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.linalg.lapack import dgbtrf, dgbtrs
from torch import Tensor


class BandFactors:
    """LU factors of the convolution of one group of channels.

    Args:
        kernel: ``(C, C, kh, kw)``.
        image_size: ``(H, W)``; the bandwidth grows with ``W``.

    Attributes:
        log_det: ``log|det T|``; -inf for a singular matrix.
    """

    def __init__(self, kernel: Tensor, image_size: tuple[int, int]) -> None:
        channels, _, kh, kw = kernel.shape
        self.reach = channels * ((kh // 2) * image_size[1] + kw // 2) + channels - 1
        band = band_matrix(kernel.detach().cpu().double().numpy(), image_size, self.reach)
        self.factors, self.pivots, _ = dgbtrf(band, self.reach, self.reach, overwrite_ab=1)
        with np.errstate(divide="ignore"):
            self.log_det = float(np.log(np.abs(self.factors[2 * self.reach])).sum())

    def solve(self, z: Tensor, transposed: bool = False) -> Tensor:
        """``T^-1 z``, or ``T^-t z``, for right-hand sides ``(N, B)``.

        Raises:
            torch.linalg.LinAlgError: if T is singular.
        """
        if not np.isfinite(self.log_det):
            raise torch.linalg.LinAlgError("the convolution is singular")  # type: ignore[attr-defined]
        right = np.asfortranarray(z.detach().cpu().double().numpy())
        x, _ = dgbtrs(self.factors, self.reach, self.reach, right, self.pivots, trans=int(transposed))
        return torch.from_numpy(np.ascontiguousarray(x)).to(z)


def band_matrix(kernel: Any, image_size: tuple[int, int], reach: int) -> Any:
    """LAPACK's band storage ``ab[2 b + i - j, j] = T[i, j]``, with b rows on top left free for pivoting."""
    channels, _, kh, kw = kernel.shape
    height, width = image_size
    band = np.zeros((3 * reach + 1, height * width * channels), order="F")
    for i, j in np.ndindex(kh, kw):
        down, right = i - kh // 2, j - kw // 2
        # The pixels that this tap reads: those `down` and `right` of a pixel inside the image.
        rows = slice(max(down, 0), max(height + min(down, 0), 0))
        columns = slice(max(right, 0), max(width + min(right, 0), 0))
        for o, c in np.ndindex(channels, channels):
            diagonal = 2 * reach - (down * width + right) * channels + o - c
            if 0 <= diagonal < len(band):
                band[diagonal].reshape(height, width, channels)[rows, columns, c] = kernel[o, c, i, j]
    return band
