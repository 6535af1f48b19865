"""A backward pass for answers that have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.autograd import Function


class BackwardRule(Protocol):
    """``rule(dy, points, **saved)``: the gradient with respect to the points, of their shape and type.

    Attributes:
        wants_points: whether the points are kept for it; it gets None for them if not.
    """

    wants_points: ClassVar[bool]

    def __call__(self, dy: Tensor, points: Any, **saved: Tensor) -> Tensor:
        """The estimate, given the gradient ``dy`` with respect to the answers."""
        ...


def attach(points: Tensor, z: Tensor, dtype: torch.dtype, rule: BackwardRule, /, **saved: Tensor) -> Tensor:
    """``z`` in another type, as a function of ``points`` whose backward pass is ``rule(dy, points, **saved)``.

    What the rule computes is differentiable in turn, as far as it is made of differentiable operations.
    """
    by_name = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    function = _Attach if by_name else _AttachPlain
    answer: Tensor = function.apply(points, z, dtype, rule, tuple(saved), *saved.values())
    return answer


class _Attach(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(points: Tensor, z: Tensor, dtype: torch.dtype, rule: Any, names: Any, *saved: Tensor) -> Tensor:
        return z.to(dtype, copy=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep what the rule wants to see."""
        points, _, _, ctx.rule, ctx.names, *saved = inputs
        ctx.save_for_backward(*saved, *([points] if ctx.rule.wants_points else []))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        """By the rule."""
        saved = ctx.saved_tensors
        points = saved[-1] if ctx.rule.wants_points else None
        gradient = ctx.rule(dy, points, **dict(zip(ctx.names, saved, strict=False)))
        return gradient, *(None,) * (4 + len(ctx.names))


class _AttachPlain(Function):
    """The same outside of transforms, which look up the names of the arguments at every call."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        _Attach.setup_context(ctx, inputs, None)
        return _Attach.forward(*inputs)

    backward = _Attach.backward


def tell(listener: Callable[..., None], *found: Tensor) -> None:
    """Call ``listener(*found)`` outside of all transforms of torch, where it may keep tensors and change buffers.

    It is called once for all that is mapped over, which becomes part of the first dimension of ``found``.
    """
    found = tuple(tensor.detach() for tensor in found)
    with torch.no_grad():
        if transformed(*found):
            _Tell.apply(listener, *found)
        else:
            listener(*found)


def transformed(*tensors: Tensor) -> bool:
    """Whether a transform of ``torch.func`` must be told what an operation does.

    Others are spared the cost of a :class:`torch.autograd.Function`, and the compiler looks inside.
    """
    return not torch.compiler.is_compiling() and any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors))


class _Tell(Function):
    @staticmethod
    def forward(listener: Any, *found: Tensor) -> Tensor:
        listener(*found)
        return found[0].new_zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing to save."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, listener: Any, *found: Tensor) -> tuple[Tensor, None]:
        """Join what is mapped over to the first dimension."""
        pairs = zip(found, in_dims[1:], strict=True)
        joined = [x if dim is None else x.movedim(dim, 0).flatten(0, 1) for x, dim in pairs]
        return _Tell.apply(listener, *joined), None
