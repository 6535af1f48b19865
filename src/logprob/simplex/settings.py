"""Temperatures and other positive settings: their shapes, their checks, and when two laws share them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

Number = float | Tensor


def per_batch(value: Number, parameter: Tensor) -> Tensor:
    """A setting in the precision of the computation, of a shape that broadcasts against the batch.

    A tensor ``(..., 1)`` with at least as many dimensions as the parameter lines up with the parameter's last
    dimension, as in torch's own relaxed laws; that dimension is dropped. Any other shape is a batch shape.

    Args:
        value: number, or tensor of shape ``()``, ``(...)`` or ``(..., 1)``.
        parameter: ``(..., K)`` or ``(..., K - 1)``, from which dtype and device are taken.

    Example:
        >>> import torch
        >>> per_batch(torch.ones(5, 1), torch.zeros(5, 9)).shape, per_batch(torch.ones(5), torch.zeros(5, 9)).shape
        (torch.Size([5]), torch.Size([5]))
    """
    tensor = torch.as_tensor(value, dtype=computing_dtype(parameter.dtype), device=parameter.device)
    aligned = tensor.dim() >= max(parameter.dim(), 1) and tensor.shape[-1] == 1
    return tensor.squeeze(-1) if aligned else tensor


def computing_dtype(dtype: torch.dtype) -> torch.dtype:
    """Half precision is computed in float32; other types in themselves."""
    return torch.promote_types(dtype, torch.float32)


def over_categories(setting: Tensor) -> Tensor:
    """A setting of the batch, shaped to broadcast against a vector of categories."""
    return setting.unsqueeze(-1) if setting.dim() else setting


def same_setting(a: Number, b: Number) -> bool:
    """Whether two settings are one without looking at a tensor's entries: equal numbers, or one and the same tensor."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b
    return a == b


def checks(validate_args: bool | None) -> bool:
    """Whether arguments are to be looked at: torch's own default if it is not said, never in a traced graph."""
    wanted: bool = Distribution._validate_args if validate_args is None else validate_args
    return wanted and not torch.compiler.is_compiling()


def check_floating(name: str, value: Tensor) -> None:
    """Raise TypeError unless it is a tensor of a real floating type: others would round what is drawn."""
    found = value.dtype if isinstance(value, Tensor) else type(value).__name__
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise TypeError(f"expected {name} to be a tensor of a floating type, got {found}")


def check_positive(name: str, value: Tensor) -> None:
    """Raise ValueError, naming the first offending entry, unless all are positive and finite."""
    _check(name, value, (value > 0) & (value < torch.inf), "positive and finite")


def check_finite(name: str, value: Tensor) -> None:
    """Raise ValueError, naming the first offending entry, unless all are finite."""
    _check(name, value, value.isfinite(), "finite")


def _check(name: str, value: Tensor, valid: Tensor, expected: str) -> None:
    if not valid.all():
        offending = value.detach()[~valid].flatten()[0].item()
        raise ValueError(f"expected every entry of {name} to be {expected}, got {offending}")
