"""Whether Python may look at the values of a tensor."""

from __future__ import annotations

import torch
from torch import Tensor


def is_traced(tensor: Tensor) -> bool:
    """Whether Python cannot branch on the values of ``tensor``: in compiled code, or inside a function transform."""
    return torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
