"""Laws with stored noise, and solvers that count, for the tests of gradients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from logprob.discrete.noise import Noise
from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.top_k import TopK


@dataclass(frozen=True, eq=False)
class Replayed(Noise):
    """Hands out a stored array, and refuses to be asked for another shape."""

    values: Tensor

    @property
    def mean(self):
        return 0.0

    @property
    def std(self):
        return 1.0

    def sample(self, shape, *, generator=None, dtype=None, device=None):
        assert self.values.shape == torch.Size(shape)
        return self.values.to(dtype)

    def log_prob(self, noise):
        raise NotImplementedError

    def score(self, noise):
        raise NotImplementedError


@dataclass(frozen=True)
class BottomK(Solver):
    """The k smallest: a solver that minimises."""

    k: int
    maximize: bool = False

    def __call__(self, scores, **instance):
        return TopK(self.k)(-scores)


@dataclass(frozen=True)
class Counting(Solver):
    """Top-k that notes the shapes that it is asked about; outside torch unless told otherwise."""

    k: int
    in_torch: bool = False
    calls: list[Any] = field(default_factory=list)
    fail: list[Any] = field(default_factory=list)
    binary: ClassVar[bool] = True

    def __call__(self, scores, **instance):
        if self.fail:
            raise RuntimeError("the solver broke")
        self.calls.append((scores, instance))
        return TopK(self.k)(scores)

    @property
    def rows(self):
        return sum(len(scores) for scores, _ in self.calls)
