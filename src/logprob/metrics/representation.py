"""Whether trainings agree on what they learned: mean correlations of their features, as they are and up to a map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from logprob.metrics.association import Association
from logprob.metrics.canonical_correlation import Whitened, rotations, whitened
from logprob.metrics.correlation import RandomSource, constant_columns, generator_of, table, warn_of_constants
from logprob.metrics.mean_correlation import best_assignment

Halves = Literal["first", "random"]


class Agreement(NamedTuple):
    """Mean correlations of two tables; the assignment is found on one half of the rows.

    Args:
        inside: over the half that has been fitted.
        outside: over the other half, by the assignment of the first.
        reassigned: over the other half, matched anew, as it is often published; never less than ``outside``.
    """

    inside: float
    outside: float
    reassigned: float


class RepresentationPair(NamedTuple):
    """How far two trainings agree.

    Args:
        first: place of one in the list.
        second: place of the other.
        dimension: number of canonical variates compared for ``weak``.
        strong: agreement of the features as they are, up to order, sign and scale.
        weak: agreement of canonical variates: of features up to a linear map.
    """

    first: int
    second: int
    dimension: int
    strong: Agreement
    weak: Agreement


def weak_mcc(
    first: Any,
    second: Any,
    *,
    dimension: int | Sequence[int] = 20,
    halves: Halves = "first",
    method: Literal["pearson", "spearman"] = "pearson",
    generator: RandomSource = None,
) -> dict[int, Agreement]:
    """Mean correlation of features up to a linear map: canonical correlation analysis on half of the rows, then MCC.

    Args:
        first: features ``(N, d)``, a tensor or anything that numpy reads; N at least 6.
        second: features ``(N, d')`` of the same rows.
        dimension: number of canonical variates, those of the largest correlation; or several numbers, a sweep. Each is
            cut to what there are.
        halves: which rows are fitted: ``"first"``, the first ``N // 2``, or ``"random"``, as many at random.
        method: correlation of the variates.
        generator: of random halves; a generator on the CPU, a seed, or None for torch's own.

    Returns: for each dimension asked for, the agreement inside and outside the fitted half.

    Raises:
        ValueError: if a table is not ``(N, d)`` with at least 6 finite rows, the numbers of rows differ, an argument is
            none of its choices, a dimension is less than 1, or every feature of a table is constant.

    Note: More dimensions add pairs of less correlation, and the half must have many more rows than there are features.
        Compare with what two untrained networks give.

    References: Khemakhem, Monti, Kingma, Hyvärinen, *ICE-BeeM*, NeurIPS 2020, section 5.

    Example:
        >>> x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
        >>> found = weak_mcc(x, x @ torch.tensor([[1.0, 2, 0], [0, 1, 3], [1, 0, 1]]), dimension=[1, 3])
        >>> round(found[3].outside, 6)
        1.0
    """
    rows = representation_pairs([first, second], dimension=dimension, halves=halves, method=method, generator=generator)
    asked = [dimension] if isinstance(dimension, int) else dimension
    return {number: row.weak for number, row in zip(asked, rows, strict=True)}


def representation_pairs(
    features: Sequence[Any],
    *,
    dimension: int | Sequence[int] = 20,
    halves: Halves = "first",
    method: Literal["pearson", "spearman"] = "pearson",
    generator: RandomSource = None,
) -> list[RepresentationPair]:
    """Agreement of every pair of trainings: MCC of their features (strong) and of canonical variates (weak).

    Args:
        features: one table ``(N, d)`` a training, at least 2, of the same rows in the same order.
        dimension: as in :func:`weak_mcc`.
        halves: as in :func:`weak_mcc`; the same rows for all pairs.
        method: correlation.
        generator: of random halves.

    Returns: one row for each pair, in the order of :func:`itertools.combinations`; for several dimensions, one for
        each pair and dimension.

    Raises:
        ValueError: as :func:`weak_mcc`, or if there are fewer than 2 trainings.

    Warns:
        RuntimeWarning: once, if features are constant on a half; their correlation is 0.

    Example:
        >>> x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
        >>> mixed = x @ torch.tensor([[1.0, 2, 0], [0, 1, 3], [1, 0, 1]])
        >>> [(row.first, row.second, round(row.weak.outside, 3)) for row in representation_pairs([x, x, mixed])]
        [(0, 1, 1.0), (0, 2, 1.0), (1, 2, 1.0)]
    """
    asked = [dimension] if isinstance(dimension, int) else list(dimension)
    _check(features, asked, halves, method)
    tables = [table(values, f"features {number}") for number, values in enumerate(features)]
    rows = {columns.shape[-1] for columns in tables}
    if len(rows) > 1 or min(rows) < 6:
        raise ValueError(f"expected as many rows of every table, at least 6, got {sorted(rows)}")
    fitted, others = _split(rows.pop(), halves, generator_of(generator))
    association = Association(ranked=method == "spearman")
    prepared = [_prepare(association, columns[:, fitted], columns[:, others]) for columns in tables]
    warn_of_constants(**{f"features {number}": one.constant for number, one in enumerate(prepared)})
    found = []
    for i, j in combinations(range(len(prepared)), 2):
        strong = _agreement(association, *zip(prepared[i].bases, prepared[j].bases, strict=True))
        for size, weak in zip(asked, _weak(association, prepared[i], prepared[j], asked), strict=True):
            kept = min(size, prepared[i].fit.map.shape[1], prepared[j].fit.map.shape[1])
            found.append(RepresentationPair(i, j, kept, strong, weak))
    return found


class _Prepared(NamedTuple):
    """All that is computed once a training rather than once a pair."""

    fit: Whitened
    others: Tensor  # columns of the rows that are not fitted, (d, N')
    bases: tuple[Tensor, Tensor]  # of either half, (d, 1, N)
    constant: Tensor


def _check(features: Sequence[Any], dimensions: Sequence[int], halves: str, method: str) -> None:
    if len(features) < 2:
        raise ValueError(f"expected at least 2 tables of features, got {len(features)}")
    if not dimensions or min(dimensions) < 1:
        raise ValueError(f"expected dimensions from 1, got {list(dimensions)}")
    for name, given, known in (
        ("halves", halves, ("first", "random")),
        ("method", method, ("pearson", "spearman")),
    ):
        if given not in known:
            raise ValueError(f"expected {name} to be one of {', '.join(map(repr, known))}, got {given!r}")


def _split(rows: int, halves: Halves, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    order = torch.arange(rows) if halves == "first" else torch.randperm(rows, generator=generator)
    return order[: rows // 2], order[rows // 2 :]


def _prepare(association: Association, fitted: Tensor, others: Tensor) -> _Prepared:
    constant = constant_columns(fitted) | constant_columns(others)
    return _Prepared(whitened(fitted), others, association.bases(fitted, others), constant)


def _weak(association: Association, x: _Prepared, y: _Prepared, dimensions: Sequence[int]) -> list[Agreement]:
    sides = list(zip((x, y), rotations(x.fit, y.fit, max(dimensions))[::2], strict=True))
    inside = [(side.fit.basis @ rotation).T for side, rotation in sides]
    outside = [((side.others.T - side.fit.mean) @ (side.fit.map @ rotation)).T for side, rotation in sides]
    pairs = [association.bases(u.contiguous(), v.contiguous()) for u, v in (inside, outside)]
    return [_agreement(association, *((u[:size], v[:size]) for u, v in pairs)) for size in dimensions]


def _agreement(association: Association, inside: tuple[Tensor, Tensor], outside: tuple[Tensor, Tensor]) -> Agreement:
    fitted, other = (association.between(*pair).abs() for pair in (inside, outside))
    pairs = best_assignment(fitted)
    scores = fitted[pairs], other[pairs], other[best_assignment(other)]
    return Agreement(*(score.mean().item() for score in scores))
