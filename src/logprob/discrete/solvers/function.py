"""Any function of batched tensors as a solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.solvers.answers import check_values, flatten_batch
from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.refusal import check_scores


@dataclass(frozen=True)
class FunctionSolver(Solver):
    """``function(scores, **instance)``, a batched function of tensors, with its answers checked.

    The function sees detached scores of shape ``(N, *event)``, whatever the batch shape, and may not change them in
    place. Instance tensors with the batch shape in front are given N rows too; everything else is passed as it is. For
    the same scores it must always give the same answer: the same function is called in the backward pass.

    Values are checked on the CPU. In compiled code, under ``torch.func`` and on a GPU, where an error would need the
    host, a wrong entry becomes NaN instead.

    Args:
        function: gives z of the shape, type and device of the scores.
        event_dim: trailing dimensions of the scores of one instance.
        maximize: False if the function minimises ``<z, scores>``.
        binary: whether every entry of z must be 0 or 1; otherwise it must be finite.

    Raises:
        ValueError: if the function gives something else; wrong values are named by instance. What the function raises
            itself comes out as it is.

    Example:
        >>> import torch
        >>> def largest(scores):
        ...     return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)
        >>> FunctionSolver(largest)(torch.tensor([[0.0, 2.0, 1.0], [3.0, 1.0, 2.0]]))
        tensor([[0., 1., 0.],
                [1., 0., 0.]])
        >>> FunctionSolver(lambda scores: scores / 2)(torch.eye(2))
        Traceback (most recent call last):
        ValueError: instance 0: expected 0 or 1 at entry [0], got 0.5
    """

    function: Callable[..., Tensor]
    event_dim: int = 1
    maximize: bool = True
    binary: bool = True  # type: ignore[misc]  # other solvers know it of their class, this one is told

    def __call__(self, scores: Tensor, **instance: Any) -> Tensor:
        """Solve every instance; see the class."""
        check_scores(self, scores, self.event_dim, ())
        flat, rows, shared = flatten_batch(scores, self.event_dim, instance)
        with torch.no_grad():
            z = self.function(flat, **rows, **shared)
        _check_form(z, flat)
        return check_values(z.detach().reshape(scores.shape), self.event_dim, self.binary)


def _check_form(z: object, scores: Tensor) -> None:
    """Refuse what has not the shape, type and device of the scores."""
    expected = _form(scores)
    if _form(z) != expected:
        hint = "" if isinstance(z, Tensor) else "; PythonSolver takes functions of one instance's arrays"
        raise ValueError(f"expected the function to give {expected}, got {_form(z)}{hint}")


def _form(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"a tensor of shape {tuple(value.shape)}, {value.dtype}, on {value.device}"
