"""Correlations between the columns of two tables: Pearson's and Spearman's."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

RandomSource = torch.Generator | int | None


def pearson_matrix(sources: Any, features: Any) -> Tensor:
    """Pearson correlation of each column of one table with each column of another.

    ``C_ij = sum_n s_ni z_nj`` of columns that are centred and scaled to length one: one matrix product. A constant
    column has correlation 0, and one warning names all of them.

    Args:
        sources: ``(N, d_s)``, a tensor or anything that numpy reads; it is not changed.
        features: ``(N, d_z)``, likewise.

    Returns: ``(d_s, d_z)``, in float64 on the CPU.

    Raises:
        ValueError: if a table is not ``(N, d)``, the numbers of rows differ or are less than 3, or an entry is NaN or
            infinite.

    Example:
        >>> pearson_matrix([[1.0], [2.0], [3.0]], [[-2.0, 1.0], [-4.0, 1.0], [-6.0, 4.0]])
        tensor([[-1.0000,  0.8660]], dtype=torch.float64)
    """
    s, z = tables(sources, features)
    warn_of_constants(sources=constant_columns(s), features=constant_columns(z))
    return (unit_columns(s) @ unit_columns(z).T).clamp(-1, 1)


def spearman_matrix(sources: Any, features: Any) -> Tensor:
    """Spearman correlation of each column of one table with each column of another: Pearson's, of the ranks.

    Equal values share the mean of their ranks. Everything else is as in :func:`pearson_matrix`.

    Args:
        sources: ``(N, d_s)``, a tensor or anything that numpy reads; it is not changed.
        features: ``(N, d_z)``, likewise.

    Returns: ``(d_s, d_z)``, in float64 on the CPU.

    Raises:
        ValueError: as :func:`pearson_matrix`.

    Example:
        >>> spearman_matrix([[1.0], [2.0], [3.0]], [[-1.0, 1.0], [-10.0, 5.0], [-11.0, 5.0]])
        tensor([[-1.0000,  0.8660]], dtype=torch.float64)
    """
    s, z = tables(sources, features)
    warn_of_constants(sources=constant_columns(s), features=constant_columns(z))
    return (unit_columns(average_ranks(s)) @ unit_columns(average_ranks(z)).T).clamp(-1, 1)


def as_tensor(values: Any) -> Tensor:
    """A tensor without gradient; of what numpy reads, a copy in numpy's precision, as some arrays may not be shared."""
    return values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))


def table(values: Any, name: str) -> Tensor:
    """``values`` as float64 on the CPU, checked: ``(N, d)``, N at least 3, every entry finite.

    The columns come as rows, ``(d, N)``: sorting and summing go along memory.

    Raises:
        ValueError: if the table is not such a one.
    """
    found = as_tensor(values)
    if found.dim() != 2 or not found.shape[1]:
        raise ValueError(f"expected {name} of shape (N, d), got {tuple(found.shape)}")
    if found.is_complex():
        raise ValueError(f"expected real {name}, got {found.dtype}")
    if len(found) < 3:
        raise ValueError(f"expected at least 3 rows of {name}, got {len(found)}")
    columns = found.cpu().double().T.contiguous()
    wrong = ~columns.isfinite().all(-1)
    if wrong.any():
        raise ValueError(f"expected finite {name}, got NaN or infinity in columns {_where(wrong)}")
    return columns


def tables(sources: Any, features: Any, names: tuple[str, str] = ("sources", "features")) -> tuple[Tensor, Tensor]:
    """Two tables with as many rows each, as :func:`table` gives them.

    Raises:
        ValueError: if one is not a table, or their numbers of rows differ.
    """
    s, z = table(sources, names[0]), table(features, names[1])
    if s.shape[1] != z.shape[1]:
        raise ValueError(f"expected as many rows of {names[0]} as of {names[1]}, got {s.shape[1]} and {z.shape[1]}")
    return s, z


def constant_columns(columns: Tensor) -> Tensor:
    """Which of the columns ``(d, N)`` hold one value only."""
    return columns.amin(-1) == columns.amax(-1)


def warn_of_constants(**found: Tensor) -> None:
    """One warning for all columns that are constant."""
    said = [f"{_where(constant)} of {name}" for name, constant in found.items() if constant.any()]
    if said:
        message = f"constant columns {' and '.join(said)}: their correlation is taken as 0"
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def _where(mask: Tensor) -> Sequence[int]:
    found: list[int] = mask.nonzero().flatten().tolist()
    return found


def unit_columns(columns: Tensor) -> Tensor:
    """Columns ``(d, N)``, centred and scaled to length one; constant ones become zero."""
    largest = columns.abs().amax(-1, keepdim=True)
    scaled = columns / torch.where(largest > 0, largest, 1)  # so that no square overflows or vanishes
    centred = scaled - scaled.mean(-1, keepdim=True)
    length = centred.norm(dim=-1, keepdim=True)
    constant = constant_columns(columns).unsqueeze(-1) | (length == 0)
    return torch.where(constant, 0, centred / torch.where(constant, 1, length))


def average_ranks(columns: Tensor) -> Tensor:
    """Ranks 1 to N along the last dimension; equal values share the mean of theirs.

    Example:
        >>> average_ranks(torch.tensor([[3.0, 1.0, 3.0, 2.0]]))
        tensor([[3.5000, 1.0000, 3.5000, 2.0000]], dtype=torch.float64)
    """
    values, order = columns.sort(dim=-1)
    places = torch.arange(1, columns.shape[-1] + 1).expand_as(order)
    differs = values[..., 1:] != values[..., :-1]
    edge = torch.ones_like(differs[..., :1])
    first = torch.where(torch.cat([edge, differs], -1), places, 0).cummax(-1).values
    last = torch.where(torch.cat([differs, edge], -1), places, places.shape[-1]).flip(-1).cummin(-1).values.flip(-1)
    return torch.empty(columns.shape, dtype=torch.float64).scatter_(-1, order, (first + last).double() / 2)


def generator_of(random: RandomSource) -> torch.Generator | None:
    """A generator on the CPU: the given one, a new one with the given seed, or None for torch's own."""
    return torch.Generator().manual_seed(random) if isinstance(random, int) else random
