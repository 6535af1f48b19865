"""A learned inverse beside a weight: a parameter where training moves it, a buffer where it is only refreshed."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

LogDet = Literal["self-normalizing", "resync", "exact", "relative", "constant"]
KEEPS_INVERSE = ("self-normalizing", "resync")


def check_log_det(name: str, accepted: tuple[str, ...] = get_args(LogDet)) -> None:
    """Raise if ``name`` is no way to get the gradient of the log-determinant.

    Raises:
        ValueError: naming those that are accepted.
    """
    if name not in accepted:
        raise ValueError(f"log_det must be one of {', '.join(accepted)}, got {name!r}")


def hold_inverse(module: nn.Module, inverse: Tensor | None, log_det: str) -> None:
    """Register ``module.inverse_weight`` as ``log_det`` wants it; the name in ``state_dict`` is always the same.

    A trained parameter for ``"self-normalizing"``, a buffer for ``"resync"``, nothing for the other modes.
    """
    inverse = None if inverse is None else inverse.detach().contiguous()
    module._parameters.pop("inverse_weight", None)
    module._buffers.pop("inverse_weight", None)
    if log_det == "self-normalizing" and inverse is not None:
        module.register_parameter("inverse_weight", nn.Parameter(inverse))
    else:
        module.register_buffer("inverse_weight", inverse if log_det == "resync" else None)


def require_inverse(module: nn.Module, inverse: Tensor | None) -> Tensor:
    """The learned inverse.

    Raises:
        ValueError: if the layer keeps none.
    """
    if inverse is None:
        raise ValueError(
            f"this {type(module).__name__} keeps no inverse weight (log_det={module.log_det!r}); "
            "use method='exact', or log_det='self-normalizing' or 'resync'"
        )
    return inverse
