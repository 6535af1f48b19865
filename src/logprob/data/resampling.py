"""Smaller images out of black and white ones, in exact whole numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024  # images at a time


def area_weights(side: int, smaller: int) -> NDArray[np.float32]:
    """How much of each pixel lies in each smaller one, in whole parts of a pixel.

    Returns: ``(smaller, side)``; whole numbers with equal row sums, as small as they can be.

    Raises:
        ValueError: unless ``0 < smaller <= side``.

    Example:
        >>> area_weights(3, 2)
        array([[2., 1., 0.],
               [0., 1., 2.]], dtype=float32)
    """
    _check(side, smaller)
    parts = smaller // math.gcd(side, smaller)  # of a pixel; every border between smaller ones is one between parts
    length = side * parts // smaller
    weights = np.zeros((smaller, side), dtype=np.float32)
    part = np.arange(side * parts)
    np.add.at(weights, (part // length, part // parts), 1)
    return weights


def bilinear_weights(side: int, smaller: int) -> NDArray[np.float32]:
    """Linear interpolation between the two pixels around the centre of each smaller one, as whole numbers.

    The centre of smaller pixel i lies at ``(i + 1/2) side / smaller - 1/2``, counted in pixels. Pixels that are next to
    no centre have no weight: there is no antialiasing.

    Returns: ``(smaller, side)``; whole numbers with equal row sums.

    Raises:
        ValueError: unless ``0 < smaller <= side``.

    Example:
        >>> bilinear_weights(3, 2)
        array([[3., 1., 0.],
               [0., 1., 3.]], dtype=float32)
    """
    _check(side, smaller)
    unit = 2 * smaller // math.gcd(2 * smaller, side - smaller)
    weights = np.zeros((smaller, side), dtype=np.float32)
    for i in range(smaller):
        before, rest = divmod(((2 * i + 1) * side - smaller) * unit // (2 * smaller), unit)
        weights[i, before] = unit - rest
        weights[i, min(before + 1, side - 1)] += rest
    return weights


def resampled(images: NDArray[np.bool_], weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``weights image weights^T`` for each image.

    Sums of whole numbers below 2^24, which float32 holds exactly in whatever order they are added.

    Args:
        images: ``(N, side, side)``.
        weights: ``(smaller, side)``, whole numbers whose row sums have a square of at most 255.

    Returns: ``(N, smaller, smaller)``, from 0 to the square of the row sums.
    """
    small = np.empty((len(images), len(weights), len(weights)), dtype=np.uint8)
    for start in range(0, len(images), BLOCK):
        block = slice(start, start + BLOCK)
        small[block] = weights @ images[block].astype(np.float32) @ weights.T
    return small


def _check(side: int, smaller: int) -> None:
    if not 0 < smaller <= side:
        raise ValueError(f"expected 0 < smaller <= side, got {smaller} and {side}")
