"""Mixings of nonlinear ICA with a known inverse: a pointwise function, then a matrix, layer by layer."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Array = NDArray[np.float64]
Activation = Literal["leaky", "sigmoid"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)
SLOPE = 0.2  # of "leaky" below zero, as published
PERCENTILE = 15  # of the condition numbers of random matrices; mixings are at least as well conditioned


def mix(sources: Array, matrices: Array, activation: Activation) -> Array:
    """Observations ``x <- a(x) A_l`` for ``l = 1..L-1``, from ``x = sources``.

    Args:
        sources: ``(N, d)``.
        matrices: ``A``, ``(L-1, d, d)``; none means ``x = sources``.
        activation: "leaky", ``max(x, x / 5)``, or "sigmoid", ``1 / (1 + e^-x)``.

    Returns: ``(N, d)``.
    """
    x = sources
    for matrix in matrices:
        x = (np.where(x < 0, SLOPE * x, x) if activation == "leaky" else 1 / (1 + np.exp(-x))) @ matrix
    return x


def unmix(x: Array, matrices: Array, activation: Activation) -> tuple[Array, Array]:
    """The inverse of :func:`mix`, and how it changes volumes.

    Returns: sources ``(N, d)``, NaN in rows that no source is mixed to (none with "leaky"); and ``log|det ds/dx|`` in
        nats, ``(N,)``.
    """
    ladj = np.zeros(len(x))
    for matrix in matrices[::-1]:
        x = x @ np.linalg.inv(matrix)
        x, change = _leaky_inverse(x) if activation == "leaky" else _logit(x)
        ladj += change - np.linalg.slogdet(matrix)[1]
    return x, ladj


def _leaky_inverse(x: Array) -> tuple[Array, Array]:
    negative = x < 0
    return np.where(negative, x / SLOPE, x), -np.log(SLOPE) * negative.sum(axis=1)


def _logit(p: Array) -> tuple[Array, Array]:
    p = np.where((p > 0) & (p < 1), p, np.nan)
    return np.log(p) - np.log1p(-p), -(np.log(p) + np.log1p(-p)).sum(axis=1)


def random_orthogonal(stream: RandomState, dim: int) -> Array:
    """A matrix of the uniform law on the orthogonal group, ``(dim, dim)``: Q of a QR of normal numbers, columns
    times the signs of R's diagonal, which makes the factorisation unique.

    References: Mezzadri, "How to generate random matrices from the classical compact groups", 2007.
    """
    q, r = np.linalg.qr(stream.normal(size=(dim, dim)))
    return np.asarray(q * np.sign(np.diag(r)))


def random_correlation(stream: RandomState, eigenvalues: Array) -> Array:
    """A random correlation matrix with given eigenvalues, whose sum is their number: ``O diag(e) O^T`` with O random
    orthogonal, turned in one plane after another until its diagonal is one.

    It does not depend on the version of a library: only the numbers of ``stream`` do it.

    References: Davies and Higham, "Numerically stable generation of correlation matrices and their factors", 2000.
    """
    dim = len(eigenvalues)
    frame = random_orthogonal(stream, dim)
    matrix = np.asarray((frame * eigenvalues) @ frame.T)
    for i in range(dim - 1):
        # Of the rest, with mean one, some entry lies on the other side of one; the first is taken.
        others = np.flatnonzero((np.diag(matrix)[i + 1 :] - 1) * (matrix[i, i] - 1) < 0)
        if len(others):
            _turn_to_one(matrix, i, i + 1 + int(others[0]))
    return matrix


def _turn_to_one(matrix: Array, i: int, j: int) -> None:
    """Rotate the plane (i, j) so that ``matrix[i, i]`` becomes one.

    The tangent t of the angle solves ``(a_jj - 1) t^2 - 2 a_ij t + (a_ii - 1) = 0``; of its two roots the one without
    cancellation.
    """
    a_ii, a_jj, a_ij = matrix[i, i] - 1, matrix[j, j] - 1, matrix[i, j]
    tangent = (a_ij + np.copysign(np.sqrt(max(a_ij**2 - a_ii * a_jj, 0.0)), a_ij)) / a_jj
    cosine = 1 / np.sqrt(1 + tangent**2)
    sine = cosine * tangent
    turn = np.array([[cosine, -sine], [sine, cosine]])
    matrix[[i, j]] = turn @ matrix[[i, j]]
    matrix[:, [i, j]] = matrix[:, [i, j]] @ turn.T


def well_conditioned(stream: RandomState, dim: int, count: int, draws: int) -> Array:
    """Matrices of uniform numbers in (-1, 1) with columns of length one, each drawn again until it is well
    conditioned: below the 15 % quantile over ``draws`` matrices of uniform numbers in (1, 2), likewise normalised.

    Returns: ``(count, dim, dim)``.
    """
    limit = np.percentile(np.linalg.cond(_unit_columns(stream.uniform(1, 2, (draws, dim, dim)))), PERCENTILE)
    matrices = np.empty((count, dim, dim))
    for layer in range(count):
        matrix = _unit_columns(stream.uniform(0, 2, (dim, dim)) - 1)
        while np.linalg.cond(matrix) > limit:
            matrix = _unit_columns(stream.uniform(0, 2, (dim, dim)) - 1)
        matrices[layer] = matrix
    return matrices


def _unit_columns(matrices: Array) -> Array:
    return np.asarray(matrices / np.linalg.norm(matrices, axis=-2, keepdims=True))
