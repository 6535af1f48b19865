"""A learned inverse beside a weight: a parameter where training moves it, a buffer where it is only refreshed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from logprob.flows.base import FlowLayer, SurrogateOptions

KEEPS_INVERSE = ("self-normalizing", "resync")


class InverseWeightLayer(FlowLayer):
    """A linear map with ``weight``, and ``inverse_weight`` as far as the mode ``log_det`` keeps one.

    ``inverse_weight`` is a trained parameter for ``"self-normalizing"``, a buffer for ``"resync"``, and None for
    the other modes; its name in ``state_dict`` is always the same. A layer that keeps no inverse leaves that of a
    loaded state alone, and one that keeps it makes its own where the state has none.
    """

    weight: nn.Parameter
    inverse_weight: Tensor | None
    cached_log_det: Tensor
    _log_det: str

    @abstractmethod
    def _check_log_det(self, name: str) -> None:
        """Raise if this layer has no mode of that name."""

    @abstractmethod
    def _best_inverse(self) -> Tensor:
        """The inverse, or the best there is, of the present weight."""

    @property
    def log_det(self) -> str:
        """Name of the gradient of the log-determinant; setting another makes or drops ``inverse_weight``."""
        return self._log_det

    @log_det.setter
    def log_det(self, name: str) -> None:
        self._check_log_det(name)
        if name == self._log_det:
            return
        inverse = self.inverse_weight
        if name in KEEPS_INVERSE and inverse is None:
            inverse = self._best_inverse()
        self._log_det = name
        self._hold_inverse(inverse)

    def _hold_inverse(self, inverse: Tensor | None) -> None:
        """Register ``inverse_weight`` as the mode wants it."""
        inverse = None if inverse is None else inverse.detach().contiguous()
        self._parameters.pop("inverse_weight", None)
        self._buffers.pop("inverse_weight", None)
        if self._log_det == "self-normalizing" and inverse is not None:
            self.register_parameter("inverse_weight", nn.Parameter(inverse))
        else:
            self.register_buffer("inverse_weight", inverse if self._log_det == "resync" else None)

    def _set_inverse(self, inverse: Tensor) -> None:
        """Refresh the inverse weight, if the mode keeps one."""
        if self.inverse_weight is not None:
            # New memory, not a copy into the old: a loss may be waiting whose backward pass needs the values there.
            self.inverse_weight.data = inverse.detach().to(self.inverse_weight).contiguous()

    def _require_inverse(self) -> Tensor:
        if self.inverse_weight is None:
            raise ValueError(
                f"this {type(self).__name__} keeps no inverse weight (log_det={self.log_det!r}); "
                "use method='exact', or log_det='self-normalizing' or 'resync'"
            )
        return self.inverse_weight

    def _without_penalty(self, options: SurrogateOptions) -> SurrogateOptions:
        """Where R is no parameter nothing is penalised."""
        return SurrogateOptions(None, options.scale, options.value) if self._log_det == "resync" else options

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        key = prefix + "inverse_weight"
        made = self.inverse_weight is not None and key not in state_dict and prefix + "weight" in state_dict
        if self.inverse_weight is None:
            state_dict.pop(key, None)
        elif made:
            state_dict[key] = self.inverse_weight.detach()
        super()._load_from_state_dict(state_dict, prefix, *rest)
        if made:
            self._set_inverse(self._best_inverse())


def check_name(name: str, accepted: tuple[str, ...]) -> None:
    """Raise if ``name`` is no way to get the gradient of the log-determinant.

    Raises:
        ValueError: naming those that are accepted.
    """
    if name not in accepted:
        raise ValueError(f"log_det must be one of {', '.join(accepted)}, got {name!r}")
