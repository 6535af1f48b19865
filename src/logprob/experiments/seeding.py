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
def fixed_draws(device: torch.device, seed: int = 0) -> Iterator[None]:
    """The same random numbers inside the block every time, and none taken from those of training.

    Example:
        >>> with fixed_draws(torch.device("cpu")):
        ...     first = torch.rand(3)
        >>> with fixed_draws(torch.device("cpu")):
        ...     print(bool((torch.rand(3) == first).all()))
        True
    """
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        # Not torch.manual_seed, which would seed every GPU, of which only one is restored.
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new floating-point tensors of this type inside the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
