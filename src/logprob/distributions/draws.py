"""Random numbers that are the same every time, and none taken from anyone else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
def draws_of(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Let what only draws from torch's global generator draw as ``generator`` says; None changes nothing.

    One number is taken from ``generator``, so that its next block has other draws.
    """
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with fixed_draws(device, seed):
        yield
