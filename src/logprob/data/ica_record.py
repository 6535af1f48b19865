"""Observations of nonlinear ICA with everything that made them: sources, mixing, and the exact density."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.random import MT19937, RandomState, SeedSequence
from numpy.typing import ArrayLike, NDArray

from logprob.data.ica_mixing import Activation, Array, mix, unmix

Law = Literal["gaussian", "laplace"]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NonlinearICA:
    """Rows ``x`` mixed from ``sources`` whose law depends on the segment ``y``; made by :mod:`logprob.data.ica`.

    Given a segment, sources have the mean ``means[:, y]`` and the covariance :attr:`covariances` ``[y]``; their law is
    normal or, for independent ones, Laplace. ``x <- a(x) A_l`` over the layers mixes them. N rows, d dimensions, K
    segments, L layers; all numbers are float64.

    Args:
        x: observations, ``(N, d)``.
        y: segments 0..K-1, int64 ``(N,)``.
        sources: ``(N, d)``.
        mixing: ``A``, ``(L-1, d, d)``.
        modulation: ``(d, K)``: standard deviations, or, where ``correlation`` is given, the ``m`` of
            ``(R^-1 / (2 d) + diag(1 / m_y))^-1``, the covariance.
        means: of the sources, ``(d, K)``.
        seed: of the rows; with it :meth:`more` makes others.
        name: of the law, as in results.
        activation: a, "leaky" or "sigmoid".
        law: of the sources, "gaussian" or "laplace" (of independent sources only).
        eigenvalues: of ``correlation``, ``(d,)``, or None.
        correlation: R, ``(d, d)``, or None if sources are independent given the segment.

    Example:
        >>> from logprob.data import ica
        >>> data = ica.tcl(n_segments=20, n_per_segment=500, layers=2, dim=5, seed=1)
        >>> data.x.shape, data.mixing.shape, bool(np.allclose(data.inverse(data.x), data.sources))
        ((10000, 5), (1, 5, 5), True)
        >>> round(data.nll(empirical=True, constant=False), 4)
        -0.2816
    """

    x: Array
    y: Labels
    sources: Array
    mixing: Array
    modulation: Array
    means: Array
    seed: int
    name: str
    activation: Activation = "leaky"
    law: Law = "gaussian"
    eigenvalues: Array | None = None
    correlation: Array | None = None

    @property
    def segments(self) -> int:
        """K, the number of segments."""
        return self.modulation.shape[1]

    @property
    def layers(self) -> int:
        """L; one layer mixes nothing."""
        return len(self.mixing) + 1

    @cached_property
    def covariances(self) -> Array:
        """Of the sources of each segment, as the law has them: ``(K, d, d)``."""
        if self.correlation is None:
            return np.asarray(self.modulation.T[:, :, None] ** 2 * np.eye(len(self.modulation)))
        return source_covariances(self.correlation, self.modulation)

    @cached_property
    def empirical_covariances(self) -> Array:
        """The same of the rows at hand, about their own mean and divided by their number; diagonal if the law's are.

        Raises:
            ValueError: if a segment has too few rows for them to be regular.
        """
        needed = 2 if self.correlation is None else 1 + len(self.modulation)
        rows = [self.sources[self.y == k] for k in range(self.segments)]
        if min(map(len, rows)) < needed:
            raise ValueError(f"covariances of segments need {needed} rows of each, got {min(map(len, rows))}")
        found = np.stack([np.atleast_2d(np.cov(part, rowvar=False, bias=True)) for part in rows])
        return found if self.correlation is not None else np.asarray(found * np.eye(found.shape[-1]))

    def inverse(self, x: ArrayLike) -> Array:
        """The sources of observations, exactly: ``(N, d)`` of ``(N, d)``.

        Raises:
            ValueError: if the shape is another, or (with the sigmoid) a row is no mixture of any sources.
        """
        sources, _ = unmix(self._observations(x), self.mixing, self.activation)
        if np.isnan(sources).any():
            raise ValueError("x has rows that no sources are mixed to: a sigmoid only reaches values in (0, 1)")
        return sources

    def log_prob(self, x: ArrayLike, y: ArrayLike, empirical: bool = False) -> Array:
        """The true ``log p(x | y)`` in nats: log-density of the sources plus ``log|det ds/dx|``.

        Args:
            x: observations, ``(N, d)``.
            y: segments, ``(N,)``.
            empirical: with :attr:`empirical_covariances` instead of the law's; means stay the law's. This is the
                published convention for the truth of :func:`~logprob.data.ica.tcl`.

        Returns: ``(N,)``; ``-inf`` where no sources are mixed to x.

        Raises:
            ValueError: if a shape or a segment is out of place.
        """
        observations, segments = self._observations(x), self._segments(y, len(np.asarray(x)))
        sources, ladj = unmix(observations, self.mixing, self.activation)
        covariances = self.empirical_covariances if empirical else self.covariances
        density = self._source_log_prob(sources - self.means.T[segments], segments, covariances)
        unreached = np.isnan(sources).any(axis=1) & ~np.isnan(observations).any(axis=1)
        return np.where(unreached, -np.inf, density + ladj)

    def nll(self, empirical: bool = False, constant: bool = True) -> float:
        """Mean of ``-log_prob`` over the rows at hand, in nats: what no model of ``p(x | y)`` beats on fresh rows.

        Args:
            empirical: as in :meth:`log_prob`.
            constant: False leaves out ``(d / 2) log(2 pi)``, as published numbers do.
        """
        dropped = 0.0 if constant else self.x.shape[1] / 2 * np.log(2 * np.pi)
        return float(-self.log_prob(self.x, self.y, empirical).mean() - dropped)

    def more(self, n_per_segment: int, seed: int) -> NonlinearICA:
        """Fresh rows of the same law: same modulation, means, correlation and mixing, new noise.

        Rows are independent draws; nothing is standardised over them. The stream of random numbers depends on both
        seeds and differs from the one that made the first rows, whatever ``seed`` is.

        Args:
            n_per_segment: rows of each segment.
            seed: of the noise, >= 0.

        Raises:
            ValueError: if a number is out of its range.
        """
        if n_per_segment < 1 or seed < 0:
            raise ValueError(f"expected n_per_segment >= 1 and seed >= 0, got {n_per_segment} and {seed}")
        stream = RandomState(MT19937(SeedSequence((self.seed, seed))))
        y = segment_labels(self.segments, n_per_segment)
        if self.correlation is None:
            shape = (len(y), len(self.modulation))
            noise = unit_noise(stream, self.law, shape)
            sources = noise * self.modulation.T[y] + self.means.T[y]
        else:
            sources = normal_sources(stream, self.means, self.covariances, n_per_segment)
        return replace(self, x=mix(sources, self.mixing, self.activation), y=y, sources=sources)

    def _source_log_prob(self, centred: Array, y: Labels, covariances: Array) -> Array:
        if self.law == "laplace":
            scale = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2) / 2)[y]  # variance = 2 scale^2
            return np.asarray(-(np.abs(centred) / scale + np.log(2 * scale)).sum(axis=1))
        log_prob = np.empty(len(centred))
        for segment in np.unique(y):
            rows = y == segment
            factor = np.linalg.cholesky(covariances[segment])
            white = np.linalg.solve(factor, centred[rows].T)
            log_prob[rows] = -0.5 * (white**2).sum(axis=0) - np.log(np.diag(factor)).sum()
        return log_prob - centred.shape[1] / 2 * np.log(2 * np.pi)

    def _observations(self, x: ArrayLike) -> Array:
        rows = np.asarray(x, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.modulation):
            raise ValueError(f"expected x of shape (N, {len(self.modulation)}), got {rows.shape}")
        return rows

    def _segments(self, y: ArrayLike, rows: int) -> Labels:
        labels = np.asarray(y)
        if labels.shape != (rows,) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"expected integer y of shape ({rows},), got {labels.dtype} {labels.shape}")
        if rows and not 0 <= labels.min() <= labels.max() < self.segments:
            raise ValueError(f"expected y in 0..{self.segments - 1}, got {labels.min()}..{labels.max()}")
        return labels.astype(np.int64)


def segment_labels(segments: int, per_segment: int) -> Labels:
    """Segments of rows sorted by segment, int64 ``(K n,)``."""
    return np.repeat(np.arange(segments, dtype=np.int64), per_segment)


def unit_noise(stream: RandomState, law: Law, shape: tuple[int, int]) -> Array:
    """Independent numbers of variance one."""
    return np.asarray(stream.normal(size=shape) if law == "gaussian" else stream.laplace(size=shape) / np.sqrt(2))


def normal_sources(stream: RandomState, means: Array, covariances: Array, per_segment: int) -> Array:
    """Normal rows, segment by segment: ``(K n, d)`` for means ``(d, K)`` and covariances ``(K, d, d)``."""
    laws = zip(means.T, covariances, strict=True)
    return np.concatenate([stream.multivariate_normal(mean, matrix, per_segment) for mean, matrix in laws])


def source_covariances(correlation: Array, modulation: Array) -> Array:
    """``(R^-1 / (2 d) + diag(1 / m_k))^-1`` for each segment: ``(K, d, d)``."""
    dim = len(correlation)
    precisions = np.linalg.inv(correlation) * 0.5 / dim + (1 / modulation.T)[:, :, None] * np.eye(dim)
    return np.asarray(np.linalg.inv(precisions))
