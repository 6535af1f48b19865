"""Networks that are told a context."""

from __future__ import annotations

import torch
from torch import Tensor


def with_context(x: Tensor, context: Tensor | None, width: int) -> Tensor:
    """Rows ``x`` with the context beside them; of width 0, it is for others to use and ignored.

    Raises:
        ValueError: if the context is missing or has another width.
    """
    if not width:
        return x
    if context is None or context.shape[-1] != width:
        got = "none" if context is None else f"one of width {context.shape[-1]}"
        raise ValueError(f"expected a context of width {width}, got {got}")
    return torch.cat([x, context], dim=-1)
