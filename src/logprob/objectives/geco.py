"""GECO: weights of reconstruction penalties that steer each energy to a target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from logprob.flows import Energy


class GECO(nn.Module):
    """One weight ``lambda_l`` a layer, moved so that its energy per dimension comes to ``target``.

    After each step, with ``E_l`` the energy and ``kappa_l = target * D_l``::

        ema    <- decay * ema + (1 - decay) * E_l                            (at first: E_l)
        lambda <- clip(lambda * exp(rate * (ema - kappa_l) / kappa_l), bounds)

    The constraint is an inequality: E_l equals kappa_l only where lambda_l stays inside its bounds. A target
    far below what the layer reaches by itself makes lambda oscillate; ``violation`` softens that.

    Args:
        target: ``kappa`` per dimension; not used by ``rule="paper"``.
        rate: step size of ``log lambda``.
        decay: of the moving average.
        initial: first lambda.
        bounds: smallest and largest lambda.
        violation: largest absolute value of ``(ema - kappa) / kappa`` that counts; None for no limit.
        rule: ``"target"`` as above; ``"paper"``: ``lambda <- lambda * exp(rate * ema)`` without target and
            bounds, so that lambda only ever grows.

    Attributes:
        log_weights: ``log lambda`` of each layer; empty before the first step.
        ema: moving averages of the energies; empty before the first step.

    Raises:
        ValueError: if a number is out of its range.

    Sources: Rezende and Viola, "Taming VAEs", 2018; its use without a target: Keller et al., ICML 2021.

    Example:
        >>> import torch
        >>> from logprob.flows import Energy
        >>> geco = GECO(target=0.1, rate=0.5)
        >>> geco([Energy(torch.tensor(0.4), 2)])
        tensor([1.])
        >>> geco([Energy(torch.tensor(0.4), 2)])
        tensor([1.6487])
    """

    log_weights: Tensor
    ema: Tensor

    def __init__(
        self,
        target: float = 3e-3,
        rate: float = 1e-2,
        decay: float = 0.9,
        initial: float = 1.0,
        bounds: tuple[float, float] = (1e-4, 1e4),
        violation: float | None = None,
        rule: Literal["target", "paper"] = "target",
    ) -> None:
        super().__init__()
        if rule not in ("target", "paper"):
            raise ValueError(f"rule must be target or paper, got {rule!r}")
        _check_positive(target=target, rate=rate, initial=initial, lowest=bounds[0], violation=violation)
        if not 0 <= decay < 1 or not bounds[0] <= initial <= bounds[1]:
            raise ValueError(f"expected 0 <= decay < 1 and initial within bounds, got {decay}, {initial}, {bounds}")
        self.target, self.rate, self.decay, self.initial = target, rate, decay, initial
        self.bounds, self.violation, self.rule = tuple(bounds), violation, rule
        self.register_buffer("log_weights", torch.empty(0))
        self.register_buffer("ema", torch.empty(0))

    def forward(self, energies: Sequence[Energy]) -> Tensor:
        """The weights for this step, one a layer; then move them for the next one, but under ``torch.no_grad``.

        An energy that is not finite moves nothing.
        """
        values = torch.stack([energy.value.detach() for energy in energies])
        if self.log_weights.numel() not in (0, len(values)):
            raise ValueError(f"expected the energies of {len(self.log_weights)} layers, got {len(values)}")
        first = not self.log_weights.numel()
        log_weights = torch.full_like(values, math.log(self.initial)) if first else self.log_weights
        if torch.is_grad_enabled():
            kappa = torch.stack([torch.full_like(values[0], self.target * energy.dimensions) for energy in energies])
            ema = values if first else self.decay * self.ema + (1 - self.decay) * values
            sound = values.isfinite()
            self.ema = torch.where(sound, ema, kappa if first else self.ema)
            self.log_weights = torch.where(sound, self._moved(log_weights, kappa), log_weights)
        return log_weights.exp()

    def _moved(self, log_weights: Tensor, kappa: Tensor) -> Tensor:
        if self.rule == "paper":
            return log_weights + self.rate * self.ema
        violation = self.ema / kappa - 1
        if self.violation is not None:
            violation = violation.clamp(-self.violation, self.violation)
        lowest, highest = (math.log(bound) for bound in self.bounds)
        return (log_weights + self.rate * violation).clamp(lowest, highest)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # The number of layers is known to the state only.
        for name in ("log_weights", "ema"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.ema.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _check_positive(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not number > 0:
            raise ValueError(f"{name} must be positive, got {number}")
