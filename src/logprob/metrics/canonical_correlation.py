"""Canonical correlation analysis: the linear maps of two tables whose images correlate most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from logprob.metrics.correlation import constant_columns, table, tables, unit_columns


@dataclass(frozen=True)
class CanonicalCorrelations:
    """What :func:`cca` found: correlations, and the maps to the canonical variates.

    Args:
        correlations: ``(r,)``, in 0 to 1, falling.
        x_mean: ``(d_x,)``.
        y_mean: ``(d_y,)``.
        x_map: ``(d_x, r)``; ``(x - x_mean) @ x_map`` has uncorrelated columns of unit variance over the fitted rows.
        y_map: ``(d_y, r)``, likewise.
    """

    correlations: Tensor
    x_mean: Tensor
    y_mean: Tensor
    x_map: Tensor
    y_map: Tensor

    def transform(self, x: Any, y: Any) -> tuple[Tensor, Tensor]:
        """Canonical variates of any rows, ``(N, r)`` each, in float64 on the CPU.

        Args:
            x: ``(N, d_x)``, a tensor or anything that numpy reads.
            y: ``(N', d_y)``, likewise; it may have other rows.
        """
        return _mapped(x, self.x_mean, self.x_map, "x"), _mapped(y, self.y_mean, self.y_map, "y")


def cca(x: Any, y: Any, *, components: int | None = None) -> CanonicalCorrelations:
    """Canonical correlations of two tables, exactly.

    With ``x - mean = Q_x R_x`` and the same of y, they are the singular values of ``Q_x^T Q_y``, and the maps are
    ``R_x^-1 U`` and ``R_y^-1 V``. Columns that depend on others linearly, constant ones among them, are allowed: the
    bases are those of the numerical rank, by numpy's rule for columns of length one.

    Args:
        x: ``(N, d_x)``, a tensor or anything that numpy reads; it is not changed.
        y: ``(N, d_y)``, likewise.
        components: number of pairs kept, the most correlated ones; ``min(rank x, rank y)`` if unset or more.

    Raises:
        ValueError: as :func:`pearson_matrix`, if ``components`` is less than 1, or if every column of a side is
            constant.

    Note: With ``N - 1`` not above the two ranks together some correlations are 1 whatever the rows are.

    References: Björck, Golub, *Numerical Methods for Computing Angles between Linear Subspaces*, Mathematics of
        Computation 27, 1973.

    Example:
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> found = cca(x, x[:, :2] @ torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> found.correlations
        tensor([1.0000, 1.0000], dtype=torch.float64)
        >>> u, v = found.transform(x, x[:, :2] @ torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> torch.allclose(u, v, atol=1e-5)
        True
    """
    if components is not None and components < 1:
        raise ValueError(f"expected at least 1 component, got {components}")
    first, second = (whitened(columns) for columns in tables(x, y, ("x", "y")))
    return canonical(first, second, components)


class Whitened(NamedTuple):
    """A centred table as ``N x r`` orthonormal columns, and the way there: ``basis = (x - mean) @ map``."""

    mean: Tensor  # (d,)
    map: Tensor  # (d, r)
    basis: Tensor  # (N, r)


def whitened(columns: Tensor) -> Whitened:
    """Orthonormal columns that span the centred columns ``(d, N)``.

    Raises:
        ValueError: if every column is constant.
    """
    mean = columns.mean(-1)
    lengths = (columns - mean.unsqueeze(-1)).norm(dim=-1)
    q, r = torch.linalg.qr(unit_columns(columns).T)
    left, sizes, right = torch.linalg.svd(r, full_matrices=False)
    rank = int((sizes > sizes[0] * max(columns.shape) * torch.finfo(torch.float64).eps).sum())
    if not rank:
        raise ValueError("expected a column that is not constant, got none")
    inverse_lengths = torch.where(constant_columns(columns), 0, 1 / lengths)
    to_basis = inverse_lengths.unsqueeze(-1) * right[:rank].T / sizes[:rank]
    return Whitened(mean, to_basis, q @ left[:, :rank])


def rotations(x: Whitened, y: Whitened, components: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Rotations of the bases to canonical variates, ``(r_x, k)`` and ``(r_y, k)``; between them the correlations."""
    left, sizes, right = torch.linalg.svd(x.basis.T @ y.basis, full_matrices=False)
    return left[:, :components], sizes[:components].clamp(max=1), right[:components].T


def canonical(x: Whitened, y: Whitened, components: int | None = None) -> CanonicalCorrelations:
    """Canonical correlations of two tables whose bases are known."""
    left, correlations, right = rotations(x, y, components)
    scale = (len(x.basis) - 1) ** 0.5  # from columns of length one to columns of unit variance
    return CanonicalCorrelations(correlations, x.mean, y.mean, x.map @ left * scale, y.map @ right * scale)


def _mapped(values: Any, mean: Tensor, to_variates: Tensor, name: str) -> Tensor:
    columns = table(values, name)
    if len(columns) != len(mean):
        raise ValueError(f"expected {len(mean)} columns of {name}, got {len(columns)}")
    return (columns.T - mean) @ to_variates
