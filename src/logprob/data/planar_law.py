"""What a density on the plane is, and the sums of normals that several of them are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from torch import Tensor

Points = NDArray[np.float64]
LOG_2PI = math.log(2 * math.pi)
CHUNK = 256  # rows at once: with about a thousand nodes, 2 MB a temporary


@dataclass(frozen=True)
class PlanarLaw:
    """A density on the plane.

    Args:
        sample: ``(random state, N) -> (N, 2)`` float64; the order of its draws is part of its definition.
        log_density: ``(*batch, 2) -> (*batch,)`` in nats, float64 whatever the input's type.
        rotated: True if the published rows are turned by 45 degrees about their mean afterwards.

    Example:
        >>> from logprob.data.planar import LAWS
        >>> LAWS["eight_gaussians"].log_density(torch.zeros(1, 2))
        tensor([-31.7584], dtype=torch.float64)
    """

    sample: Callable[[RandomState, int], Points]
    log_density: Callable[[Tensor], Tensor]
    rotated: bool = False


def log_normal(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
    """Log-density of one-dimensional normals, in nats."""
    scale = torch.as_tensor(scale, dtype=torch.float64)
    return -0.5 * ((x - loc) / scale).square() - scale.log() - 0.5 * LOG_2PI


def normals(locs: Tensor, scales: Tensor, log_weights: Tensor) -> Callable[[Tensor], Tensor]:
    """Log of ``sum_k exp(log_weights_k) N(x; locs_k, scales_k^2 I)``, rows in chunks."""
    constant, rate = log_weights - 2 * scales.log() - LOG_2PI, -0.5 / scales.square()
    locs0, locs1 = locs.unbind(-1)

    def chunk(x: Tensor) -> Tensor:
        squares = (x[:, :1] - locs0).square() + (x[:, 1:] - locs1).square()  # (n, K)
        return torch.logsumexp(constant + rate * squares, dim=-1)

    return lambda x: in_chunks(chunk, x)


def in_chunks(chunk: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``chunk`` of ``(n, 2)`` float64 rows, a few at a time, in the batch shape of ``x``."""
    rows = x.double().reshape(-1, 2)
    return torch.cat([chunk(part) for part in rows.split(CHUNK)]).reshape(x.shape[:-1])


def unit_quadrature(panels: int, order: int = 16) -> tuple[Tensor, Tensor]:
    """Composite Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    left = np.arange(panels)[:, None]
    t = ((left + 0.5 * (nodes + 1)) / panels).ravel()
    return torch.from_numpy(t), torch.from_numpy(np.tile(0.5 * weights / panels, panels))
