"""Noise that several scores share: one number for an undirected edge, or for a block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from logprob.discrete.noise import Device, Generator, Gumbel, Noise
from logprob.distributions import IntractableError


@dataclass(frozen=True)
class SharedNoise(Noise):
    """Noise with one number for each group of scores, along their last dimension.

    Args:
        groups: for each score the number of its group, 0 and up; `undirected` gives those of directed edges.
        noise: law of the numbers.

    Raises:
        ValueError: if there is no group, or a number of one is negative; on a call, if there are more or fewer scores.

    Example:
        >>> a, b, c = SharedNoise((0, 0, 1)).sample((3,))
        >>> bool(a == b), bool(a == c)
        (True, False)
    """

    groups: tuple[int, ...]
    noise: Noise = Gumbel()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))  # hashable, whatever sequence came
        if not self.groups or min(self.groups) < 0:
            raise ValueError(f"expected the numbers, 0 and up, of at least one group, got {self.groups}")

    @property
    def mean(self) -> float:
        """That of the law."""
        return self.noise.mean

    @property
    def std(self) -> float:
        """That of the law."""
        return self.noise.std

    @property
    def symmetric(self) -> bool:
        """As the law is."""
        return self.noise.symmetric

    def _draw(self, shape: torch.Size, generator: Generator, dtype: torch.dtype, device: Device) -> Tensor:
        if shape[-1] != len(self.groups):
            raise ValueError(f"expected the groups of {shape[-1]} scores, got those of {len(self.groups)}")
        numbers = (*shape[:-1], max(self.groups) + 1)
        own = self.noise.sample(numbers, generator=generator, dtype=dtype, device=device)
        return own[..., torch.tensor(self.groups, device=own.device)]

    def log_prob(self, noise: Tensor) -> Tensor:
        """Refused: numbers that are equal have no joint density."""
        raise self._no_density()

    def score(self, noise: Tensor) -> Tensor:
        """Refused: numbers that are equal have no joint density."""
        raise self._no_density()

    def _no_density(self) -> IntractableError:
        return IntractableError(
            "shared noise has no density over scores; share the scores, and perturb each group once"
        )


def undirected(vertices: int) -> tuple[int, ...]:
    """Number of the undirected edge of each directed one, for `SharedNoise`.

    Args:
        vertices: n. Directed edges (i, j) are in the order of the rows of a matrix without its diagonal, n (n - 1) of
            them; undirected ones in that of its upper triangle.

    Example:
        >>> undirected(3)  # (0,1), (0,2), (1,0), (1,2), (2,0), (2,1)
        (0, 1, 0, 2, 1, 2)
    """
    pairs = [(i, j) for i in range(vertices) for j in range(i + 1, vertices)]
    number = {pair: place for place, pair in enumerate(pairs)}
    return tuple(number[min(i, j), max(i, j)] for i in range(vertices) for j in range(vertices) if i != j)
