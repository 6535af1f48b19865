"""The randomized dependence coefficient: how well any two smooth functions of two variables correlate."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from logprob.metrics.correlation import (
    RandomSource,
    as_tensor,
    constant_columns,
    generator_of,
    tables,
    warn_of_constants,
)

FEATURES, SCALE = 20, 0.5  # number of random sines, standard deviation of their weights


def rdc(u: Any, v: Any, *, weights: tuple[Any, Any] | None = None, generator: RandomSource = None) -> float:
    """Randomized dependence coefficient of two variables, in 0 to 1.

    The ranks of each, divided by N, pass through k = min(20, N) random sines, ``sin([rank/N, 1] w)`` with weights
    ``w ~ N(0, 0.5^2)``; the coefficient is the largest canonical correlation between the two sets of sines. With Q the
    first r columns of the thin QR decomposition of the centred sines, r their numerical rank, this is the largest
    singular value of ``Q_u^T Q_v``: exact, in time ``O(N k^2)`` and memory ``O(N k)``.

    Args:
        u: N values, a tensor or anything that numpy reads.
        v: as many.
        weights: those of ``u`` and of ``v``, each ``(2, k)``; the first row multiplies the rank, the second is added.
            Drawn if left out.
        generator: of the weights; a generator, a seed, or None for torch's own.

    Raises:
        ValueError: if there are fewer than 3 values, not as many of one as of the other, a value that is not finite,
            or weights of another shape.

    Note: It is random, blind to sign and shape (that of u and u^2 is 1), and far from 0 for independent variables:
        about 0.25 at N = 500. So it is never the default of anything here.

    References: Lopez-Paz, Hennig, Schölkopf, *The Randomized Dependence Coefficient*, NIPS 2013.

    Example:
        >>> u = torch.linspace(-1, 1, 200)
        >>> round(rdc(u, u**2, generator=0), 3)
        1.0
    """
    columns = [as_tensor(x).reshape(-1, 1) for x in (u, v)]
    s, z = tables(columns[0], columns[1], ("values of u", "values of v"))
    warn_of_constants(u=constant_columns(s), v=constant_columns(z))
    if weights is None:
        random = generator_of(generator)
        pair = [sine_weights(1, s.shape[-1], random) for _ in range(2)]
    else:
        pair = [as_tensor(w).cpu().double().unsqueeze(0) for w in weights]
    bases = [sine_basis(x, w) for x, w in zip((s, z), pair, strict=True)]
    return torch.linalg.svdvals(bases[0][0] @ bases[1][0].T)[0].clamp(max=1).item()


def sine_weights(columns: int, rows: int, generator: torch.Generator | None) -> Tensor:
    """Weights ``(d, 2, k)`` of the random sines, drawn once a column."""
    return SCALE * torch.randn(columns, 2, min(FEATURES, rows), dtype=torch.float64, generator=generator)


def sine_basis(columns: Tensor, weights: Tensor) -> Tensor:
    """Orthonormal bases of the centred random sines of each column.

    Args:
        columns: ``(d, N)``.
        weights: ``(d, 2, k)``.

    Returns: ``(d, k, N)``; what is beyond the numerical rank is zero, and all of it for a constant column.

    Raises:
        ValueError: if the weights have another shape.
    """
    rows = columns.shape[-1]
    if weights.dim() != 3 or weights.shape[:2] != (len(columns), 2):
        raise ValueError(f"expected weights (2, k) for each column, got {tuple(weights.shape[1:])}")
    places = torch.arange(1, rows + 1, dtype=torch.float64).expand_as(columns)
    ranks = torch.empty_like(columns).scatter_(-1, columns.sort(dim=-1, stable=True).indices, places)
    # In numpy, sines and decomposition alike: the last column that counts is mostly rounding, so that the published
    # values come out, where they can, from the same library only.
    sines = np.sin((ranks / rows).unsqueeze(-1).numpy() * weights[:, :1].numpy() + weights[:, 1:].numpy())  # (d, N, k)
    q, r = np.linalg.qr(sines - sines.mean(1, keepdims=True))
    # The rank of the sines is that of R: numpy's rule, for the sines and the constant that completes them.
    sizes = np.linalg.svd(r, compute_uv=False)
    tolerance = sizes[:, :1] * max(rows, weights.shape[-1] + 1) * np.finfo(np.float64).eps
    rank = torch.from_numpy((sizes > tolerance).sum(-1))
    kept = (torch.arange(q.shape[-1]) < rank.unsqueeze(-1)) & ~constant_columns(columns).unsqueeze(-1)
    return (torch.from_numpy(q) * kept.unsqueeze(1)).mT.contiguous()
