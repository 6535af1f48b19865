"""The k largest of n."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.refusal import can_look, check_listable, check_scores, refuse


@dataclass(frozen=True)
class TopK(Solver):
    """Indicator of the k largest scores, ``argmax <z, scores>`` over z in {0, 1}^n with ``sum_i z_i = k``.

    Exactly k ones; among equal scores the lowest index wins. Items of score +inf are always in (as far as k goes),
    items of -inf only if they are needed to reach k. NaN is an error, or, in compiled code, under ``torch.func`` and on
    a GPU, where an error would need the host, an answer of NaN.

    The optional instance arguments are ``mask``, boolean of the shape of the scores (a masked item is never in, also
    not to reach k), and ``k``, integers of the batch shape, instead of the one k of the solver.

    Args:
        k: number of ones, 0 <= k <= n.

    Raises:
        ValueError: if k is negative or above n, or a score is NaN.

    Example:
        >>> import torch
        >>> TopK(2)(torch.tensor([0.3, 1.0, 0.3, -2.0]))
        tensor([1., 1., 0., 0.])
        >>> TopK(2)(torch.zeros(2, 3), k=torch.tensor([1, 3]))
        tensor([[1., 0., 0.],
                [1., 1., 1.]])
    """

    k: int

    def __post_init__(self) -> None:
        if self.k < 0:
            raise ValueError(f"expected k >= 0, got {self.k}")

    def __call__(
        self, scores: Tensor, *, mask: Tensor | None = None, k: Tensor | None = None, **unknown: Any
    ) -> Tensor:
        """Choose in every row; see the class."""
        check_scores(self, scores, 1, unknown)
        if k is None and self.k > scores.shape[-1]:
            raise ValueError(f"expected at least k = {self.k} items, got {scores.shape[-1]}")
        scores = scores.detach()
        if mask is not None or k is not None:
            return _general(scores, mask, torch.as_tensor(self.k if k is None else k, device=scores.device))
        return _plain(scores, self.k)

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All n-choose-k indicators, in the lexicographic order of their items."""
        (n,) = event_shape
        check_listable(self, comb(n, self.k))
        items = torch.tensor(list(combinations(range(n), self.k)), dtype=torch.int64)
        return torch.zeros(len(items), n).scatter_(-1, items, 1.0)


@dataclass(frozen=True)
class TopKWithTies(Solver):
    """Indicator of the scores that are at least the k-th largest: k ones, or more where scores are equal.

    Not an argmax over subsets of one size; for comparison with results that were made in this way. Take `TopK` instead.

    Args:
        k: number of ones without ties, 1 <= k <= n.

    Raises:
        ValueError: if k is not in this range, or a score is NaN. Where Python cannot look, as in compiled code, its
            answer is NaN.

    Example:
        >>> import torch
        >>> TopKWithTies(2)(torch.tensor([0.3, 1.0, 0.3, -2.0]))
        tensor([1., 1., 1., 0.])
    """

    k: int

    def __call__(self, scores: Tensor, **unknown: Any) -> Tensor:
        """Choose in every row; see the class."""
        check_scores(self, scores, 1, unknown)
        if not 1 <= self.k <= scores.shape[-1]:
            raise ValueError(f"expected 1 <= k <= {scores.shape[-1]} items, got k = {self.k}")
        scores = scores.detach()
        largest = scores.topk(self.k).values
        z = (scores >= largest[..., -1:]).to(scores.dtype)
        return refuse(z, largest[..., 0].isnan(), "a score is NaN")


def _plain(scores: Tensor, k: int) -> Tensor:
    """The same k in every row. One more value than needed tells which rows are tied at their threshold."""
    n = scores.shape[-1]
    if n == 0:
        return torch.zeros_like(scores)
    largest, items = scores.topk(min(k + 1, n))
    z = torch.zeros_like(scores).scatter(-1, items[..., :k], 1.0)
    if 0 < k < n:
        z = _repair(z, scores, largest[..., k - 1 : k], largest[..., k - 1] == largest[..., k], k)
    return refuse(z, largest[..., 0].isnan(), "a score is NaN")  # which topk puts first


def _repair(z: Tensor, scores: Tensor, threshold: Tensor, tied: Tensor, k: int) -> Tensor:
    """Choose again, by index, in the tied rows; in all of them where it cannot be seen which they are."""
    if not can_look(scores):
        return _above(scores, threshold, k).to(z.dtype)
    if tied.any():
        z[tied] = _above(scores[tied], threshold[tied], k).to(z.dtype)
    return z


def _general(scores: Tensor, mask: Tensor | None, k: Tensor) -> Tensor:
    """Rows with masks and with a k of their own."""
    allowed = None if mask is None else mask.expand(scores.shape)
    shown = scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)
    k = k.expand(scores.shape[:-1]).unsqueeze(-1)
    falling = shown.sort(dim=-1, descending=True).values
    items = scores.shape[-1]
    threshold = falling.gather(-1, (k - 1).clamp(0, items - 1)).masked_fill(k == 0, torch.inf)
    z = _above(shown, threshold, k, allowed).to(scores.dtype)
    z = refuse(z, ((k < 0) | (k > items)).squeeze(-1), f"expected 0 <= k <= {items}")
    return refuse(z, falling[..., 0].isnan(), "a score is NaN")


def _above(scores: Tensor, threshold: Tensor, k: Tensor | int, allowed: Tensor | None = None) -> Tensor:
    """What is above the threshold, and of what is equal to it the first few, to make k."""
    above, tied = scores > threshold, scores == threshold
    if allowed is not None:
        tied = tied & allowed
    wanted = k - above.sum(-1, keepdim=True)
    return above | (tied & (tied.cumsum(-1) <= wanted))
