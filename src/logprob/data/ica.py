"""Nonlinear ICA with known sources: sources change with a segment, a known mixing hides them.

Rows come from numpy's legacy stream, number for number those that published experiments were made of. Each function
returns a :class:`NonlinearICA`, which also has the exact inverse, the exact density and fresh rows.
"""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState

from logprob.data.ica_mixing import (
    ACTIVATIONS,
    Activation,
    Array,
    mix,
    random_correlation,
    random_orthogonal,
    well_conditioned,
)
from logprob.data.ica_record import Law, NonlinearICA, normal_sources, segment_labels, source_covariances, unit_noise

__all__ = ["NonlinearICA", "imca", "nonstationary", "tcl"]

LOW, HIGH = 0.01, 3.0  # of standard deviations
FARTHEST = 3.0  # of means, if they vary


def tcl(
    n_segments: int = 20,
    n_per_segment: int = 500,
    layers: int = 2,
    dim: int = 5,
    seed: int = 1,
    varying_means: bool = False,
) -> NonlinearICA:
    """Independent normal sources whose scales change with the segment, mixed by rotations and leaky ReLUs.

    ``s_i | y ~ N(0, m_iy^2)`` with ``m ~ U(0.01, 3)``, then ``x <- lrelu_0.2(x) A_l`` with random orthogonal ``A_l``,
    for ``l = 1..L-1``. The noise is standardised over all rows before it is scaled, as published.

    Args:
        n_segments: K.
        n_per_segment: rows of each; rows are sorted by segment.
        layers: L; one layer is no mixing.
        dim: d, number of sources.
        seed: of everything, 0..2^32-1.
        varying_means: sources also have means ``~ U(-3, 3)`` in each segment.

    Returns: ``K n`` rows.

    Raises:
        ValueError: if a number is out of its range, or there is only one row in all.

    Note: without varying means, the law of the sources depends on ``|s|`` alone; no method learns signs from ``y``.

    References:
        Hyvarinen and Morioka, "Unsupervised Feature Extraction by Time-Contrastive Learning and Nonlinear ICA",
        NeurIPS 2016; Khemakhem et al., "ICE-BeeM", NeurIPS 2020.

    Example:
        >>> data = tcl(n_segments=20, n_per_segment=100, layers=2, seed=1)
        >>> data.x[0].round(6)
        array([-2.791282, -3.78044 ,  1.453214, -0.278413, -0.449232])
    """
    _check(n_segments, n_per_segment, layers, dim, seed)
    stream = RandomState(seed)
    y = segment_labels(n_segments, n_per_segment)
    noise = _standardised(stream.normal(size=(len(y), dim)))
    modulation = stream.uniform(LOW, HIGH, (dim, n_segments))
    means = _means(stream, dim, n_segments, varying_means)
    sources = noise * modulation.T[y] + means.T[y]
    mixing = _rotations(stream, dim, layers)
    x = mix(sources, mixing, "leaky")
    return NonlinearICA(x, y, sources, mixing, modulation, means, seed, "tcl")


def imca(
    n_segments: int = 20,
    n_per_segment: int = 500,
    layers: int = 2,
    dim: int = 5,
    seed: int = 1,
    varying_means: bool = False,
) -> NonlinearICA:
    """Normal sources that depend on one another in a way that all segments share, mixed as in :func:`tcl`.

    ``s | y ~ N(0, (R^-1 / (2 d) + diag(1 / m_y))^-1)`` with ``sqrt(m) ~ U(0.01, 3)`` and a random correlation matrix R
    whose eigenvalues are ``~ U(0, 1)``, scaled to the sum d. The published stream starts anew after R, so that ``m``
    reuses the numbers of the eigenvalues.

    Args:
        n_segments: K.
        n_per_segment: rows of each; rows are sorted by segment.
        layers: L; one layer is no mixing.
        dim: d, number of sources, at least 2.
        seed: of everything, 0..2^32-1.
        varying_means: sources also have means ``~ U(-3, 3)`` in each segment.

    Returns: ``K n`` rows, with ``eigenvalues`` and ``correlation``.

    Raises:
        ValueError: if a number is out of its range.

    References: Khemakhem et al., "ICE-BeeM", NeurIPS 2020, section 4 (independently modulated components).

    Example:
        >>> data = imca(n_segments=20, n_per_segment=100, layers=2, seed=1)
        >>> data.x[0].round(6)
        array([ 0.112726, -0.482414, -0.969545,  0.405569,  0.676019])
    """
    _check(n_segments, n_per_segment, layers, dim, seed)
    if dim < 2:
        raise ValueError(f"dependent sources are at least 2, got dim={dim}")
    stream = RandomState(seed)
    eigenvalues = stream.random_sample(dim)
    eigenvalues *= dim / eigenvalues.sum()
    correlation = random_correlation(stream, eigenvalues)
    stream = RandomState(seed)
    modulation = stream.uniform(LOW, HIGH, (dim, n_segments)) ** 2
    means = _means(stream, dim, n_segments, varying_means)
    sources = normal_sources(stream, means, source_covariances(correlation, modulation), n_per_segment)
    mixing = _rotations(stream, dim, layers)
    return NonlinearICA(
        mix(sources, mixing, "leaky"),
        segment_labels(n_segments, n_per_segment),
        sources,
        mixing,
        modulation,
        means,
        seed,
        "imca",
        eigenvalues=eigenvalues,
        correlation=correlation,
    )


def nonstationary(
    n_segments: int = 20,
    n_per_segment: int = 500,
    layers: int = 2,
    dim: int = 5,
    seed: int = 1,
    source: Law = "laplace",
    activation: Activation = "leaky",
    draws: int = 10_000,
) -> NonlinearICA:
    """Independent sources whose scales change with the segment, mixed by matrices that are no rotations.

    ``s_i = m_iy e_i`` with ``m ~ U(0, 1)`` and Laplace or normal noise e, standardised over all rows; then
    ``x <- a(x) A_l``. The ``A_l`` have uniform entries in (-1, 1) and columns of length one, and are better conditioned
    than 85 % of ``draws`` such matrices with entries in (1, 2).

    Args:
        n_segments: K.
        n_per_segment: rows of each; rows are sorted by segment.
        layers: L; one layer is no mixing.
        dim: d, number of sources.
        seed: of everything, 0..2^32-1.
        source: law of the noise, "laplace" or "gaussian".
        activation: a, "leaky" (slope 0.2 below zero) or "sigmoid".
        draws: random matrices that set the limit of the condition number.

    Returns: ``K n`` rows.

    Raises:
        ValueError: if a number is out of its range, or a name unknown.

    References: the generator that published code of time-contrastive learning and of ICE-BeeM offers.

    Example:
        >>> data = nonstationary(n_segments=4, n_per_segment=8, layers=3, dim=3, activation="sigmoid", draws=100)
        >>> bool(np.abs(data.inverse(data.x) - data.sources).max() < 1e-10)
        True
    """
    _check(n_segments, n_per_segment, layers, dim, seed)
    if source not in ("laplace", "gaussian") or activation not in ACTIVATIONS:
        expected = f"source 'laplace' or 'gaussian' and activation of {list(ACTIVATIONS)}"
        raise ValueError(f"expected {expected}, got {source!r} and {activation!r}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    stream = RandomState(seed)
    y = segment_labels(n_segments, n_per_segment)
    noise = _standardised(unit_noise(stream, source, (len(y), dim)))
    modulation = stream.uniform(0, 1, (dim, n_segments))
    sources = noise * modulation.T[y]
    mixing = well_conditioned(stream, dim, layers - 1, draws)
    x = mix(sources, mixing, activation)
    means = np.zeros((dim, n_segments))
    return NonlinearICA(x, y, sources, mixing, modulation, means, seed, "nonstationary", activation, source)


def _check(n_segments: int, n_per_segment: int, layers: int, dim: int, seed: int) -> None:
    numbers = {"n_segments": n_segments, "n_per_segment": n_per_segment, "layers": layers, "dim": dim}
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in 0..2^32-1, got {seed}")


def _standardised(noise: Array) -> Array:
    """Every column with mean 0 and deviation 1 over the rows at hand."""
    if len(noise) < 2:
        raise ValueError("expected at least two rows in all, over which noise can be standardised")
    return np.asarray((noise - noise.mean(axis=0)) / noise.std(axis=0))


def _means(stream: RandomState, dim: int, segments: int, varying: bool) -> Array:
    shape = (dim, segments)
    return np.asarray(stream.uniform(-FARTHEST, FARTHEST, shape)) if varying else np.zeros(shape)


def _rotations(stream: RandomState, dim: int, layers: int) -> Array:
    """``(L-1, d, d)``."""
    drawn = [random_orthogonal(stream, dim) for _ in range(layers - 1)]
    return np.stack(drawn) if drawn else np.empty((0, dim, dim))
