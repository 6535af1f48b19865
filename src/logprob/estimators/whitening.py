"""Whitening by principal components."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Below this share of the largest variance a component is noise of the arithmetic, which whitening would blow up.
SMALLEST = 1e-7


class Whitening(nn.Module):
    """``z = (x - mean) W^T`` with components by descending variance, so that rows have covariance I.

    The covariance is the unbiased one; the sign of a component is arbitrary.

    Args:
        x: rows to learn it from, ``(N, D)``, N >= 2.
        components: number of leading components kept, by default all D.

    Raises:
        ValueError: if there are less than two rows, not that many components, or if the variance of a kept component
            is below 1e-7 of the largest.

    Example:
        >>> x = torch.randn(500, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64)
        >>> z = Whitening(x)(x)
        >>> torch.allclose(z.T.cov(), torch.eye(3, dtype=torch.float64))
        True
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, x: Tensor, components: int | None = None) -> None:
        super().__init__()
        rows, features = x.shape
        kept = features if components is None else components
        if rows < 2 or not 1 <= kept <= features:
            raise ValueError(
                f"expected at least 2 rows and 1 to {features} components, got {rows} rows and {kept} components"
            )
        mean = x.mean(0)
        variances, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / (rows - 1))
        variances, axes = variances.flip(0)[:kept], axes.flip(1)[:, :kept]
        if not variances[-1] > SMALLEST * variances[0]:
            raise ValueError(
                f"expected columns of X without linear dependence, got variances of principal components from "
                f"{variances[0].item():.3g} down to {variances[-1].item():.3g}; take fewer n_components or drop columns"
            )
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", axes.T / variances.sqrt().unsqueeze(-1))  # (kept, D)

    @property
    def log_abs_det(self) -> float:
        """``log |det W|`` over the kept components, in nats."""
        return self.matrix.norm(dim=1).log().sum().item()

    def forward(self, x: Tensor) -> Tensor:
        """White rows ``(..., components)``."""
        return (x - self.mean) @ self.matrix.T

    def inverse(self, z: Tensor) -> Tensor:
        """Rows with these white ones; the projection on the kept components, if some were dropped."""
        return z @ torch.linalg.pinv(self.matrix).T + self.mean

    def extra_repr(self) -> str:
        """Sizes."""
        kept, features = self.matrix.shape
        return f"{features}, components={kept}"
