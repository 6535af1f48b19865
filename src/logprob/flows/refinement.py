"""Richardson refinement: an approximate inverse, repeated until it is exact."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MAX_STEPS = 100


def refine(
    z: Tensor,
    apply: Callable[[Tensor], Tensor],
    approximate: Callable[[Tensor], Tensor],
    exact: Callable[[Tensor], Tensor],
) -> Tensor:
    """Solve ``apply(x) = z`` for a linear map by ``x <- x + approximate(z - apply(x))``.

    The error shrinks by the factor ``||I - R W||`` a step. Where it does not halve, or after 100 steps, the
    exact solver takes over.

    Args:
        z: right-hand sides.
        apply: the linear map ``W``, without bias.
        approximate: the approximate inverse ``R``.
        exact: the exact solver.
    """
    tolerance = 8 * torch.finfo(z.dtype).eps
    scale = z.abs().amax().clamp_min(torch.finfo(z.dtype).tiny)
    x = approximate(z)
    before = torch.full_like(scale, torch.inf)
    for _ in range(MAX_STEPS):
        residual = z - apply(x)
        size = residual.abs().amax()
        if bool(size <= tolerance * scale):
            return x + approximate(residual)
        if not bool(size <= before / 2):
            return exact(z)
        x, before = x + approximate(residual), size
    return exact(z)
