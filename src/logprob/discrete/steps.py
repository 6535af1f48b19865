"""How far a finite difference moves the scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

Reference = Literal["perturbed", "theta", "centered"]
Norms = Literal["instance", "batch"]

_FAR = 1e6  # what is left of the scores in float32, so far away, is their order among ties


class Slope(NamedTuple):
    """The gradient with respect to the answers.

    Attributes:
        rows: of all samples S and instances N with D numbers each, ``(S, N, D)``.
        peak: largest magnitude of a row, ``(S, N, 1)``; 0 of one without gradient.
    """

    rows: Tensor
    peak: Tensor


class Move(NamedTuple):
    """A step of the scores.

    Attributes:
        offset: ``lambda g``, shape ``(S, N, D)``.
        inverse: what a difference is multiplied by, ``1 / lambda``; 0 where ``lambda`` is. Broadcasts to ``(S, N, 1)``.
    """

    offset: Tensor
    inverse: Tensor


class Outcome(NamedTuple):
    """What a finite difference found.

    Attributes:
        left, right: the answers on both sides, ``(S, N, D)``.
        difference: ``left - right``, 0 in rows that are not active.
        changed: number of coordinates in which they differ, ``(S, N)``.
        active: whether there was a gradient, and a finite one, ``(S, N)``; elsewhere nothing has changed.
        central: whether the scores moved to both sides.
        about_law: what :meth:`StepSize.look` said in the forward pass.
    """

    left: Tensor
    right: Tensor
    difference: Tensor
    changed: Tensor
    active: Tensor
    central: bool
    about_law: Tensor | None


class StepSize(nn.Module, ABC):
    """``step(slope, points, scores)``: by how much the scores of each instance move along the gradient.

    The same ``lambda`` moves the scores and divides the difference. What a step learns is in its buffers.
    """

    @abstractmethod
    def forward(self, slope: Slope, points: Tensor, scores: Tensor) -> Move:
        """The step.

        Args:
            slope: g, the gradient with respect to the answers.
            points: perturbed scores, ``(S, N, D)``.
            scores: without perturbation, ``(1, N, D)``.
        """

    def look(self, q: Any, noise: Tensor, z: Tensor) -> Tensor | None:
        """What :meth:`learn` wants to know about the law, from samples in the forward pass; nothing by default."""
        return None

    def learn(self, outcome: Outcome) -> None:
        """Adapt, at the end of the backward pass; nothing by default."""


class Fixed(StepSize):
    """The same ``lambda`` for every instance.

    Args:
        size: ``lambda``, >= 0; of 0 the gradient is 0.

    Raises:
        ValueError: if it is negative.

    Example:
        >>> from logprob.discrete.implicit import IMLE
        >>> IMLE(Fixed(2.0)).step.size == IMLE(2.0).step.size
        True
    """

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = _check_not_negative("size", size)

    def forward(self, slope: Slope, points: Tensor, scores: Tensor) -> Move:
        """``lambda g``."""
        inverse = 1 / self.size if self.size > 0 else 0.0
        return Move(self.size * slope.rows, slope.rows.new_full((), inverse))


class Normalised(StepSize):
    """``lambda = beta |scores| / |g|``: the scores move by ``beta`` times their own length.

    Lengths are Euclidean, roots of the mean square over samples. Infinite scores do not count. Large
    ones do: what is to be left out has a score of -inf, or is masked by the solver, rather than one of -1e9, beside
    which the other scores are nothing.

    Args:
        beta: relative length, >= 0.
        reference: the scores whose length counts: ``"perturbed"``, which is never zero; ``"theta"``, without noise, of
            which scores of zero have no step; ``"centered"``, perturbed and with their mean taken off, where a constant
            in the scores means nothing, as for k-subsets.
        norms: ``"instance"``, or ``"batch"``: one ``lambda`` of the lengths over all instances.

    Raises:
        ValueError: if ``beta`` is negative or a name unknown.

    Example:
        >>> slope = Slope(torch.tensor([[[0.0, 4.0]]]), torch.tensor([[[4.0]]]))
        >>> Normalised(0.5)(slope, points=torch.tensor([[[6.0, 8.0]]]), scores=torch.zeros(1, 1, 2)).offset
        tensor([[[0., 5.]]])
    """

    def __init__(self, beta: float = 1.0, reference: Reference = "perturbed", norms: Norms = "instance") -> None:
        super().__init__()
        self.beta = _check_not_negative("beta", beta)
        self.reference, self.norms = check_reference(reference), norms
        if norms not in ("instance", "batch"):
            raise ValueError(f"norms must be instance or batch, got {norms!r}")

    def forward(self, slope: Slope, points: Tensor, scores: Tensor) -> Move:
        """``beta |scores| g / |g|``."""
        dims = (0, 2) if self.norms == "instance" else (0, 1, 2)
        return relative(self.beta, slope, REFERENCES[self.reference](points, scores), dims)


class Sign(StepSize):
    """The limit of long steps, ``z - solver(-g)``; where g is tied, by the scores. Not divided by ``lambda``.

    Dense and biased, its length independent of the gradient's.

    Example:
        >>> slope = Slope(torch.tensor([[[0.0, 1e-3]]]), torch.tensor([[[1e-3]]]))
        >>> (Sign()(slope, points=torch.ones(1, 1, 2), scores=torch.zeros(1, 1, 2)).offset > 1e5).tolist()
        [[[False, True]]]
    """

    def forward(self, slope: Slope, points: Tensor, scores: Tensor) -> Move:
        """``g``, made so long that it drowns the scores."""
        move = relative(_FAR, slope, points, (0, 2))
        return Move(move.offset, (move.inverse != 0).to(points.dtype))


def relative(beta: float | Tensor, slope: Slope, reference: Tensor, dims: tuple[int, ...]) -> Move:
    """The step ``beta |reference| g / |g|``, with norms over ``dims``.

    The direction is formed first: ``lambda`` itself may be too large for a float where the gradient is small.
    """
    peak = _reduced(torch.amax, slope.peak, dims)
    zero = peak == 0
    direction = slope.rows / (peak + zero)
    length = _rms(direction, dims) + zero
    reach = beta * _rms(reference.nan_to_num(torch.nan, 0.0, 0.0), dims)
    return Move(direction * (reach / length), (peak * length / reach).masked_fill(reach == 0, 0.0))


def as_step(step: float | StepSize) -> StepSize:
    """A number is a fixed step."""
    return step if isinstance(step, StepSize) else Fixed(step)


def _perturbed(points: Tensor, scores: Tensor) -> Tensor:
    return points


def _theta(points: Tensor, scores: Tensor) -> Tensor:
    return scores


def _centered(points: Tensor, scores: Tensor) -> Tensor:
    finite = points.isfinite()
    mean = points.where(finite, 0.0).sum(-1, keepdim=True) / finite.sum(-1, keepdim=True).clamp(min=1)
    return points - mean


REFERENCES = {"perturbed": _perturbed, "theta": _theta, "centered": _centered}


def check_reference(reference: Reference) -> Reference:
    """The name of a reference.

    Raises:
        ValueError: if it is unknown.
    """
    if reference not in REFERENCES:
        raise ValueError(f"reference must be one of {', '.join(REFERENCES)}, got {reference!r}")
    return reference


def _rms(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Euclidean length, mean square over samples; contiguous dimensions first."""
    length = _reduced(partial(vector_norm, ord=2), vector_norm(x, 2, -1, keepdim=True), dims)
    return length if len(x) == 1 else length / len(x) ** 0.5


def _reduced(reduce: Callable[..., Tensor], rows: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Rows ``(S, N, 1)``, reduced over dimensions if there is more than one number to reduce."""
    if len(rows) == 1 and dims == (0, 2):
        return rows
    return reduce(rows, dim=dims, keepdim=True) if rows.numel() else rows.sum(dims, keepdim=True)  # of no instance: 0


def _check_not_negative(name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"expected {name} >= 0, got {value}")
    return value
