"""What a mean correlation is when features have nothing to do with sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from logprob.metrics.association import Association

AT_ONCE = 2**24  # numbers in the shuffled bases of one matrix product: 128 MiB


@dataclass(frozen=True, repr=False)
class Null:
    """Scores of shuffled rows.

    Args:
        kind: ``"rows"`` or ``"within"`` (inside groups).
        mean: mean score.
        quantile: 95 % quantile of the scores.
        p_value: ``(1 + number of scores as high as the observed one) / (1 + B)``.
        scores: all of them, ``(B,)``.
    """

    kind: Literal["rows", "within"]
    mean: float
    quantile: float
    p_value: float
    scores: Tensor

    def __repr__(self) -> str:
        return f"null {self.kind}: mean={self.mean:.4f} quantile95={self.quantile:.4f} p={self.p_value:.4f}"


def permutation_null(
    association: Association,
    s: Tensor,
    z: Tensor,
    observed: float,
    groups: Any = None,
    permutations: int = 200,
    assignment: tuple[Tensor, Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> Null:
    """Mean correlations of shuffled sources, matched anew or by the given assignment.

    Args:
        association: which correlation.
        s: bases of the sources, ``(d_s, m, N)``.
        z: bases of the features, ``(d_z, m, N)``.
        observed: the score of the rows as they are.
        groups: if given, label of each row, ``(N,)``; rows are shuffled inside groups only.
        permutations: B, at least 1.
        assignment: rows and columns of the pairs, if they are not to be chosen anew.
        generator: of the shuffles.

    Raises:
        ValueError: if ``permutations`` is less than 1, or groups are not ``(N,)`` or have one row each.
    """
    if permutations < 1:
        raise ValueError(f"expected at least 1 permutation, got {permutations}")
    rows = s.shape[-1]
    labels = None if groups is None else group_numbers(groups, rows)
    if labels is not None and labels.max() == rows - 1:
        raise ValueError("expected groups of more than one row: there is nothing to shuffle inside them")
    size = max(1, AT_ONCE // s.numel())
    scores = []
    for start in range(0, permutations, size):
        shuffles = [shuffle(rows, labels, generator) for _ in range(min(size, permutations - start))]
        matrices = association.between(s[..., torch.stack(shuffles)], z).abs()  # (B, d_s, d_z)
        scores.append(_matched(matrices, assignment))
    null = torch.cat(scores)
    as_high = (null >= observed - 1e-12).sum().item()  # equal up to rounding is as high
    return Null(
        "rows" if labels is None else "within",
        null.mean().item(),
        null.quantile(0.95).item(),
        (1 + as_high) / (1 + permutations),
        null,
    )


def group_numbers(groups: Any, rows: int) -> Tensor:
    """Labels of any kind as integers from 0, ``(N,)``.

    Raises:
        ValueError: if there is not one for each row.
    """
    # labels may be text, which tensors do not hold
    given = np.asarray(groups.detach().cpu() if isinstance(groups, Tensor) else groups)
    if given.shape != (rows,):
        raise ValueError(f"expected a group for each of {rows} scored rows, got shape {given.shape}")
    return torch.from_numpy(np.unique(given, return_inverse=True)[1].reshape(-1))


def shuffle(rows: int, labels: Tensor | None, generator: torch.Generator | None) -> Tensor:
    """A random permutation of ``rows`` numbers; with labels, one that keeps the label at every place."""
    order = torch.randperm(rows, generator=generator)
    if labels is None:
        return order
    return torch.empty_like(order).scatter_(0, labels.argsort(stable=True), order[labels[order].argsort(stable=True)])


def _matched(matrices: Tensor, assignment: tuple[Tensor, Tensor] | None) -> Tensor:
    """Mean of the matched entries of each matrix ``(B, n, m)``."""
    if assignment is not None:
        return matrices[:, assignment[0], assignment[1]].mean(-1)
    arrays = matrices.numpy()
    means = [array[linear_sum_assignment(array, maximize=True)].mean() for array in arrays]
    return torch.tensor(means, dtype=torch.float64)
