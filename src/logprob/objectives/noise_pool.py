"""Rows of noise and their log-densities, drawn once and used many times."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import nn

from logprob.distributions.noise_rows import ContrastRows, seeded


class NoisePool:
    """Rows of noise with their log-densities, drawn when they are first needed and never again.

    Random numbers of the pool come from a seed of its own, so that a state that holds the seed brings back the pool.

    Args:
        rows: their number.
        seed: of the pool; None draws one from torch's generator when the pool is filled.

    Raises:
        ValueError: if there are no rows.
    """

    def __init__(self, rows: int, seed: int | None = None) -> None:
        if rows < 1:
            raise ValueError(f"a pool of noise needs at least one row, got {rows}")
        self.rows, self.seed = rows, seed
        self._held: ContrastRows | None = None

    def take(self, rows: int, fill: Callable[[int], ContrastRows]) -> ContrastRows:
        """``rows`` of the pool, with replacement.

        Args:
            rows: how many.
            fill: draws so many rows, if that has not happened yet.
        """
        if self._held is None:
            if self.seed is None:
                self.seed = fresh_seed()
            with seeded(self.seed):
                self._held = fill(self.rows)
        return self._held.pick(torch.randint(self.rows, (rows,), device=self._held.x.device))

    def empty(self, seed: int | None = None) -> None:
        """Forget the rows; new ones are drawn with ``seed`` when they are needed."""
        self._held, self.seed = None, seed


def fresh_seed() -> int:
    """A seed drawn from torch's generator."""
    return int(torch.randint(2**31, ()).item())


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Parameters that take no gradient in what is computed inside the block; gradients still pass through."""
    held = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
