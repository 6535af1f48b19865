"""The invertible map from real vectors onto the simplex: any map of real vectors, and softmax++ after it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from logprob.simplex.fast_softmax import append_score, log_softmax_plus_plus, softmax_plus_plus
from logprob.simplex.points import on_simplex
from logprob.simplex.settings import Number, over_categories, per_batch, same_setting
from logprob.transforms import Transform


class SimplexMap:
    """``psi = softmax(g(y)_1 / temperature, ..., g(y)_{K-1} / temperature, log delta)``.

    Its inverse is ``g(y)_k = temperature * (log psi_k - log psi_K + log delta)``.

    Args:
        transform: g, or None for the identity.
        temperature: positive, number or tensor.
        delta: weight of the extra category, positive, number or tensor.
        like: vectors ``(..., K - 1)`` that give dtype, device and number of dimensions.
    """

    def __init__(self, transform: Transform | None, temperature: Number, delta: Number, like: Tensor) -> None:
        self.transform = transform
        self.settings = (temperature, delta)
        self.temperature, self.delta = per_batch(temperature, like), per_batch(delta, like)

    @property
    def columns(self) -> tuple[Tensor, Tensor]:
        """Temperature and log delta, shaped to broadcast against vectors of categories."""
        return over_categories(self.temperature), over_categories(self.delta.log())

    @property
    def threshold(self) -> Tensor:
        """Score of the extra category, ``temperature * log delta``."""
        return self.temperature * self.delta.log()

    @property
    def learned(self) -> bool:
        """Whether a gradient is wanted for anything that defines the map."""
        parts = (self.temperature, self.delta, *(() if self.transform is None else self.transform.parameters()))
        return any(isinstance(part, Tensor) and part.requires_grad for part in parts)

    def transformed(self, y: Tensor) -> Tensor:
        """``g(y)``."""
        return y if self.transform is None else self.transform(y)

    def scores(self, y: Tensor) -> Tensor:
        """``g(y)`` and the threshold, ``(..., K)``."""
        return append_score(self.transformed(y), over_categories(self.threshold))

    def psi(self, y: Tensor) -> Tensor:
        """The point of the simplex, ``(..., K)``."""
        return softmax_plus_plus(self.transformed(y), *self.columns)

    def log_psi(self, y: Tensor) -> Tensor:
        """Its logarithm, without underflow."""
        return log_softmax_plus_plus(self.transformed(y), *self.columns)

    def log_abs_det(self, y: Tensor) -> Tensor:
        """Log-determinant of y to the additive log-ratios ``log(psi_k / psi_K)``, in nats.

        That of y to ``psi_1, ..., psi_{K-1}`` is larger by ``sum_{k<=K} log psi_k``, whatever the map.
        """
        to_ratios = y.shape[-1] * self.temperature.log()
        return -to_ratios if self.transform is None else self.transform.call_and_ladj(y)[1] - to_ratios

    def invert(self, log_psi: Tensor) -> tuple[Tensor, Tensor]:
        """y, and whether the point is in the support; outside of it y is that of some point within."""
        temperature, log_delta = self.columns
        possible = log_psi.amin(-1) != -torch.inf  # NaN passes, and shows
        log_psi = log_psi.masked_fill(~possible.unsqueeze(-1), 0.0)
        scores = temperature * (log_psi[..., :-1] - log_psi[..., -1:] + log_delta)
        if self.transform is None:
            return scores, possible
        if self.transform.codomain is not constraints.real_vector:
            reached = self.transform.codomain.check(scores.detach()) | scores.isnan().any(-1)
            possible = possible & reached
            some = self.transform(torch.zeros_like(scores)).detach()
            scores = scores.where(possible.unsqueeze(-1), some)
        return self.transform.inv(scores), possible

    def is_surely(self, other: SimplexMap) -> bool:
        """Whether both are one map by the look of it: the same objects or equal numbers, no tensor being read."""
        pairs = zip(self.settings, other.settings, strict=True)
        return self.transform is other.transform and all(same_setting(a, b) for a, b in pairs)

    def is_same(self, other: SimplexMap) -> bool:
        """Whether both are one map; tensors are read only if there is a transform."""
        return self.is_surely(other) or (self.transform is not None and not self.difference(other))

    def difference(self, other: SimplexMap) -> str:
        """What differs between two maps, in words; empty if nothing does. Reads tensors."""
        if self.transform is not other.transform and self.transform != other.transform:
            return f"the maps differ: {_name(self.transform)} and {_name(other.transform)}"
        for name, a, b in (("temperature", self.temperature, other.temperature), ("delta", self.delta, other.delta)):
            if not (a == b).all():
                return f"their {name} differs: {_shown(a)} and {_shown(b)}"
        return ""

    def support(self) -> Any:
        """The simplex, or the part of it that the codomain of g reaches."""
        full = self.transform is None or self.transform.codomain is constraints.real_vector
        return constraints.simplex if full else Reached(self)


class Reached(constraints.Constraint):
    """Points of the simplex that a map reaches, which is not all of it where the map's codomain is not."""

    event_dim = 1

    def __init__(self, map: SimplexMap) -> None:
        self.map = map

    def check(self, value: Tensor) -> Tensor:
        """Whether each point is on the simplex and reached."""
        return on_simplex(value) & self.map.invert(value.log())[1]


def _name(transform: Transform | None) -> str:
    return "the identity" if transform is None else f"{type(transform).__name__} with these parameters"


def _shown(value: Tensor) -> str:
    return f"{value.item():.6g}" if value.numel() == 1 else f"a tensor of shape {tuple(value.shape)}"
