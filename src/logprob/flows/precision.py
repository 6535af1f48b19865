"""Half precision: exact linear algebra, which torch does not have there, is done in float32."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """``tensor`` in float32 if its type is narrower, as bfloat16 and float16 are; itself otherwise.

    Layers factorise, solve and iterate on what this returns, outside of autocast (:func:`full_precision`), and give
    the result back in the type of their input.

    Example:
        >>> import torch
        >>> at_least_float32(torch.ones(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def full_precision(tensor: Tensor) -> torch.autocast:
    """A context without autocast on the device of ``tensor``."""
    return torch.autocast(tensor.device.type, enabled=False)
