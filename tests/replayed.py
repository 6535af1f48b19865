"""Noise that is stored, solvers that count and a process that trains, for the tests of discrete gradients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor

from logprob.discrete.implicit import AIMLE
from logprob.discrete.noise import Noise
from logprob.discrete.perturb_and_map import PerturbAndMAP
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


def train_in_a_process(rank, store, results):
    """Ten steps of one of two processes, which have different instances; saves what was learnt."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(rank)
    theta, gradient = torch.randn(8 + 8 * rank, 10, requires_grad=True), AIMLE()
    for _ in range(10):
        z = PerturbAndMAP(theta, TopK(5), gradient=gradient).rsample((2,))
        ((z - theta.detach().abs()) ** 2).sum(-1).mean(0).sum().backward()
    torch.save(dict(gradient.named_buffers()), results[rank])
    dist.destroy_process_group()
