"""What step sizes that learn have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from logprob.discrete.attach import tell
from logprob.discrete.steps import Outcome, StepSize


class Controller(StepSize):
    """A step size that learns at the end of each backward pass in training mode, unless it is frozen.

    Its state is in buffers, never in less than float32. Where processes train together, they add up what they saw
    before they learn from it, so that their states agree; each must then go backward equally often.

    Attributes:
        frozen: whether it has stopped learning.
    """

    frozen: bool = False

    def freeze(self, frozen: bool = True) -> None:
        """Stop learning, or go on."""
        self.frozen = frozen

    @property
    def learns(self) -> bool:
        """Whether the next backward pass changes its state."""
        return self.training and not self.frozen

    def learn(self, outcome: Outcome) -> None:
        """See the class."""
        if self.learns:
            with torch.no_grad():
                sums = self.evidence(outcome)
            tell(self._update, sums.unsqueeze(0))

    @abstractmethod
    def evidence(self, outcome: Outcome) -> Tensor:
        """What is to be known about a call: sums over instances, ``(n,)``."""

    @abstractmethod
    def update(self, sums: Tensor) -> None:
        """Change the buffers in place, given sums over the instances of all processes."""

    def _update(self, sums: Tensor) -> None:
        self.update(_of_all_processes(sums.sum(0).nan_to_num(0.0)))  # NaN, which no later call could undo

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Buffers move with the module, but do not follow it into half precision."""
        before = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self.get_buffer(name)
            if new.dtype in (torch.float16, torch.bfloat16):
                setattr(self, name, old.to(new.device))
        return self


def _of_all_processes(sums: Tensor) -> Tensor:
    """The sum over processes, if there are several."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(sums)
    return sums
