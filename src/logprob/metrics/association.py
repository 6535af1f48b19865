"""What the correlations of the MCC have in common: columns become bases, whose products are the correlations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from logprob.metrics.correlation import average_ranks, unit_columns
from logprob.metrics.randomized_dependence import sine_basis, sine_weights


@dataclass(frozen=True)
class Association:
    """One way to correlate columns.

    Each column becomes m orthonormal vectors, and the correlation of two columns is the largest singular value of the
    ``(m, m)`` products of theirs. For Pearson's and Spearman's ``m = 1``: that is the product itself, with its sign.

    Args:
        ranked: whether values are replaced by their ranks, ties shared.
        weights: those of RDC's sines, of sources and of features; None for the others.
    """

    ranked: bool = False
    weights: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, method: str, s: Tensor, z: Tensor, generator: torch.Generator | None) -> Association:
        """The association called ``"pearson"``, ``"spearman"`` or ``"rdc"``, for columns ``(d, N)``."""
        if method != "rdc":
            return cls(ranked=method == "spearman")
        draw = [sine_weights(len(x), x.shape[-1], generator) for x in (s, z)]
        return cls(weights=(draw[0], draw[1]))

    def bases(self, s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Orthonormal vectors ``(d, m, N)`` of each column ``(d, N)`` of either side."""
        if self.weights is not None:
            return sine_basis(s, self.weights[0]), sine_basis(z, self.weights[1])
        s, z = (average_ranks(x) if self.ranked else x for x in (s, z))
        return unit_columns(s).unsqueeze(1), unit_columns(z).unsqueeze(1)

    def between(self, s: Tensor, z: Tensor) -> Tensor:
        """Correlations of every column with every other.

        Args:
            s: bases ``(d_s, m, N)``, or several shuffles of them, ``(d_s, m, B, N)``.
            z: bases ``(d_z, m', N)``.

        Returns: ``(d_s, d_z)`` or ``(B, d_s, d_z)``; all of it one matrix product.
        """
        products = (s.reshape(-1, s.shape[-1]) @ z.flatten(0, 1).T).reshape(*s.shape[:-1], *z.shape[:2])
        if s.dim() == 4:
            products = products.movedim(2, 0)
        products = products.movedim(-3, -2)  # (B, d_s, d_z, m, m')
        found = products[..., 0, 0] if self.weights is None else torch.linalg.svdvals(products)[..., 0]
        return found.clamp(-1, 1)
