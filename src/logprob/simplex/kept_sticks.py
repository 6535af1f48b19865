"""From Gaussian numbers to softmax++ of the pieces of a stick that are kept, and back."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from logprob.simplex.fast_softmax import log_softmax, softmax
from logprob.simplex.points import on_simplex
from logprob.simplex.settings import Number, over_categories, per_batch, same_setting
from logprob.simplex.stick_breaking import StickBreaking, left_over
from logprob.simplex.truncation import Truncation, required_sticks


class Kept(NamedTuple):
    """Pieces of a stick, and which of them are kept."""

    pieces: Tensor  # (..., n)
    number: Tensor  # R, (...)
    own: Tensor  # whether an entry is that of a kept piece, (..., n + 1)
    end: Tensor  # whether it is entry R + 1, which stands for all that was cut off


class Point(NamedTuple):
    """A point of the simplex and what it was made of."""

    y: Tensor  # (..., n); what is not kept can be any number
    own: Tensor  # whether a stick is kept, (..., n)
    log_psi: Tensor  # 0 where psi is 0, (..., n + 1)
    last: Tensor  # log psi of entry R + 1, (...)
    inside: Tensor  # whether it is in the support, (...)


class KeptSticks:
    """``psi = (softmax(eta_1 / temperature, ..., eta_R / temperature, log delta), 0, ..., 0)``, eta the pieces of y.

    Args:
        truncation: says R.
        categories: length K of psi.
        temperature: > 0, number or tensor.
        delta: > 0, number or tensor.
        like: vectors that give dtype, device and number of dimensions.
    """

    def __init__(
        self, truncation: Truncation, categories: int, temperature: Number, delta: Number, like: Tensor
    ) -> None:
        self.truncation, self.categories, self.settings = truncation, categories, (temperature, delta)
        self.temperature, self.delta = per_batch(temperature, like), per_batch(delta, like)

    @property
    def threshold(self) -> Tensor:
        """Score of entry R + 1, ``temperature * log delta``."""
        return self.temperature * self.delta.log()

    def keep(self, y: Tensor) -> Kept:
        """The pieces and how many of them are kept."""
        pieces = StickBreaking()(y)
        count = self.truncation.counts(pieces.detach())
        place, ends = torch.arange(y.shape[-1] + 1, device=y.device), count.unsqueeze(-1)
        return Kept(pieces, count, place < ends, place == ends)

    def scores(self, kept: Kept) -> Tensor:
        """Pieces, the threshold, and -inf beyond, ``(..., K)``."""
        return self._pad(_join(kept, kept.pieces, over_categories(self.threshold)), -torch.inf)

    def psi(self, kept: Kept) -> Tensor:
        """``(..., K)``."""
        return self._pad(softmax(self._logits(kept)), 0.0)

    def log_psi(self, kept: Kept) -> Tensor:
        """Its logarithm, ``(..., K)``: finite up to entry R + 1 and -inf beyond."""
        return self._pad(log_softmax(self._logits(kept)), -torch.inf)

    def point(self, y: Tensor) -> Point:
        """The point that ``y`` makes."""
        kept = self.keep(y)
        log_psi = log_softmax(self._logits(kept))
        some = torch.where(kept.own | kept.end, log_psi, 0.0)
        inside = torch.ones_like(kept.number, dtype=torch.bool)
        return Point(y, kept.own[..., :-1], some, (some * kept.end).sum(-1), inside)

    def invert(self, log_psi: Tensor) -> Point:
        """The ``y`` of a value, whose R is the number of its positive entries less one."""
        tau, log_delta = over_categories(self.temperature), over_categories(self.delta.log())
        filled = log_psi != -torch.inf
        count = filled.sum(-1, keepdim=True) - 1
        place = torch.arange(self.categories, device=log_psi.device)
        own, log_psi = (place < count)[..., :-1], torch.where(filled, log_psi, 0.0)
        last = (log_psi * (place == count)).sum(-1, keepdim=True)
        pieces = torch.where(own, tau * (log_psi[..., :-1] - last + log_delta), 0.0)
        inside = (filled == (place <= count)).all(-1) & self._possible(pieces, own)
        valid = own & (inside | log_psi.isnan().any(-1)).unsqueeze(-1)  # NaN passes, and shows
        # Outside y is 0, as the logarithm of a negative length would spoil the gradients of all rows.
        left = left_over(torch.where(valid, pieces, 0.0))
        y = torch.where(valid, pieces, 1.0).log() - torch.where(valid, left, 1.0).log()
        return Point(y, own, log_psi, last.squeeze(-1), inside | log_psi.isnan().any(-1))

    def _possible(self, pieces: Tensor, own: Tensor) -> Tensor:
        """Whether pieces are those of a stick of which just as many are kept."""
        required = required_sticks(pieces, self.truncation.threshold).clamp(max=self.categories - 1)
        return ((pieces > 0) == own).all(-1) & (pieces.sum(-1) < 1) & (required == own.sum(-1))

    def is_same(self, other: KeptSticks) -> bool:
        """Whether both make the same psi of the same numbers; reads tensors that are not one object."""
        if (self.categories, self.truncation) != (other.categories, other.truncation):
            return False
        if all(same_setting(a, b) for a, b in zip(self.settings, other.settings, strict=True)):
            return True
        return bool((self.temperature == other.temperature).all()) and bool((self.delta == other.delta).all())

    def _logits(self, kept: Kept) -> Tensor:
        # Divided before -inf comes in, of which the temperature's gradient would make NaN.
        return _join(kept, kept.pieces / over_categories(self.temperature), over_categories(self.delta.log()))

    def _pad(self, value: Tensor, fill: float) -> Tensor:
        return F.pad(value, (0, self.categories - value.shape[-1]), value=fill)


class KeptPieces(constraints.Constraint):
    """Points of the simplex that truncated sticks can make."""

    event_dim = 1

    def __init__(self, map: KeptSticks) -> None:
        self.map = map

    def check(self, value: Tensor) -> Tensor:
        """Whether each point is on the simplex and one of them."""
        return on_simplex(value) & self.map.invert(value.log()).inside


def _join(kept: Kept, pieces: Tensor, last: Tensor) -> Tensor:
    """What belongs to the kept pieces, to entry R + 1, and -inf beyond."""
    return torch.where(kept.own, F.pad(pieces, (0, 1)), torch.where(kept.end, last, -torch.inf))
