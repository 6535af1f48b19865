"""What a solver made of torch operations does with an instance that has no answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from logprob.distributions import IntractableError

MOST_STATES = 200_000  # rows that `states` lists: above, an expectation by enumeration is no longer what a user wants


def can_look(tensor: Tensor) -> bool:
    """Whether Python may branch on the values of ``tensor``: not in compiled code, not in a transform, not on a GPU."""
    traced = torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return tensor.device.type == "cpu" and not traced


def name_instance(index: Sequence[int]) -> str:
    """What an error calls the instance of this index into the batch shape."""
    return f"instance {index[0] if len(index) == 1 else tuple(index)}"


def refuse(z: Tensor, wrong: Tensor, why: str) -> Tensor:
    """``z``, where the instances ``wrong`` are refused: by an error, or by NaN where looking would stop the stream.

    Args:
        z: answers, shape ``(*batch, *event)``.
        wrong: which instances have no answer, shape ``(*batch,)``, boolean.
        why: what was expected.

    Raises:
        ValueError: naming the first wrong instance.
    """
    if not can_look(wrong):
        return z.masked_fill(wrong.reshape(wrong.shape + (1,) * (z.dim() - wrong.dim())), torch.nan)
    if wrong.any():
        raise ValueError(f"{name_instance(wrong.nonzero()[0].tolist())}: {why}")
    return z


def check_scores(solver: object, scores: Tensor, event_dim: int, unknown: Collection[str]) -> None:
    """Refuse what has no last ``event_dim`` dimensions of floating point numbers, and arguments of unknown names."""
    if unknown:
        raise TypeError(f"{type(solver).__name__} knows no argument of an instance named {', '.join(unknown)}")
    if scores.dim() < event_dim or not scores.is_floating_point():
        got = f"{scores.dtype} of shape {tuple(scores.shape)}"
        name = type(solver).__name__
        raise ValueError(f"{name} expects floating point scores of at least {event_dim} dimensions, got {got}")


def check_listable(solver: object, count: int) -> None:
    """Refuse to list more than `MOST_STATES` states."""
    if count > MOST_STATES:
        raise IntractableError(f"{type(solver).__name__} has {count} states here, more than {MOST_STATES}")
