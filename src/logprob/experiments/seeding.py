"""All randomness of a run starts here."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from logprob.experiments.errors import RecipeError


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, numpy and torch, and return the generator that shuffles the rows.

    The shuffling generator has a stream of its own, so that a model that draws random numbers sees the rows
    in the same order as one that does not.

    Example:
        >>> a, b = seed_everything(3), seed_everything(3)
        >>> bool((torch.randperm(9, generator=a) == torch.randperm(9, generator=b)).all())
        True
    """
    if not 0 <= seed < 2**63:
        raise RecipeError(f"seed: expected an integer from 0 to 2^63 - 1, got {seed}")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new floating-point tensors of this type inside the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
