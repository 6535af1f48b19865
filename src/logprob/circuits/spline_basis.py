"""Clamped uniform B-splines in local cell coordinates: pieces, Gram matrix and integrals, exact to rounding.

On the unit interval, cut into ``n - q`` cells, ``n`` basis functions of order ``q``; on any other interval the same
numbers serve after a change of variable. Pieces are polynomials in ``t`` in [0, 1] *of the cell*: powers of the
global coordinate would lose every digit at a few hundred knots.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class SplineBasis(NamedTuple):
    """Constants of a basis of ``n`` functions of order ``q`` on [0, 1].

    Args:
        pieces: ``(cells, q + 1, q + 1)``; function ``c + j`` on cell ``c`` is ``sum_p pieces[c, j, p] t^p``.
        gram_bands: ``(q + 1, n)``; entry ``(o, i)`` is ``int B_i B_(i+o)``, zero where ``i + o >= n``.
        integrals: ``(n,)``.
    """

    pieces: Array
    gram_bands: Array
    integrals: Array


@lru_cache(maxsize=32)
def spline_basis(functions: int, order: int) -> SplineBasis:
    """Build the basis; ``functions`` must exceed ``order``.

    Example:
        >>> spline_basis(3, 1).integrals
        array([0.25, 0.5 , 0.25])
    """
    cells = functions - order
    knots = np.clip(np.arange(-order, cells + order + 1), 0, cells).astype(np.float64)
    pieces = np.stack([_cell_pieces(knots, cell, order) for cell in range(cells)])
    return SplineBasis(pieces, _gram_bands(pieces) / cells, _integrals(pieces) / cells)


def _cell_pieces(knots: Array, cell: int, order: int) -> Array:
    """Cox-de Boor on one cell, as polynomials in ``t = x - cell`` (cells have length one here)."""
    span = cell + order
    pieces = [np.ones(1)]
    for degree in range(1, order + 1):
        raised = [np.zeros(degree + 1) for _ in range(degree + 1)]
        for j, piece in enumerate(pieces):
            left, right = knots[span - degree + 1 + j], knots[span + 1 + j]
            width = right - left
            raised[j] += np.convolve(piece, [right - cell, -1.0]) / width
            raised[j + 1] += np.convolve(piece, [cell - left, 1.0]) / width
        pieces = raised
    return np.stack(pieces)


def _gram_bands(pieces: Array) -> Array:
    cells, active, powers = pieces.shape
    hilbert = 1.0 / (np.arange(powers)[:, None] + np.arange(powers)[None, :] + 1)
    local = np.einsum("cip,pq,cjq->cij", pieces, hilbert, pieces)
    bands = np.zeros((active, cells + active - 1))
    for offset in range(active):
        for i in range(active - offset):
            bands[offset, i : i + cells] += local[:, i, i + offset]
    return bands


def _integrals(pieces: Array) -> Array:
    cells, active, powers = pieces.shape
    local = pieces @ (1.0 / np.arange(1, powers + 1))
    integrals = np.zeros(cells + active - 1)
    for i in range(active):
        integrals[i : i + cells] += local[:, i]
    return integrals
