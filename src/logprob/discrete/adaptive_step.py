"""A step size that keeps the share of coordinates which a difference changes at a target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from logprob.discrete.controller import Controller
from logprob.discrete.density import MEASURES, Measure, own_turnover
from logprob.discrete.steps import REFERENCES, Move, Outcome, Reference, Slope, check_reference, relative

_SOFT = 0.01  # added to densities, which may be 0, before their logarithm
_PROBE_EVERY = 8  # calls: one more solve for each instance, where one sample alone cannot tell how samples differ
_SHARE = 0.95  # of the coordinates that can change: a target above is never reached
_STRENGTH = {True: 1.2, False: 1.0}  # target by the law's own turnover, for central and forward differences


class AdaptiveStep(Controller):
    r"""``lambda_i = beta |scores_i| / |g_i|``, with one ``beta`` that learns.

    Short steps change nothing, and their rare differences have a large variance; long ones forget the scores. After
    every backward pass, ``beta`` follows the *density*, the mean number of coordinates that a difference changes:

    .. math:: \log \beta \leftarrow \log \beta + \text{rate} \cdot
        \mathrm{clip}\Big(\log \frac{\text{target} + 0.01}{\text{density} + 0.01}, -1, 1\Big)

    where density is a running mean. The automatic target compares a difference with what the law does anyway: it is
    ``c o / sqrt(1 + S / 10)``, where o is the mean number of coordinates in which two independent samples differ, S the
    number of samples, and c = 1.2 for central and 1.0 for forward differences; at most 95 % of what can
    change. The more the law concentrates, the sparser and less biased the gradient becomes.

    With one sample, o is measured at every eighth call by one more solve, with the noise of the next instance of the
    batch, so that no random numbers are drawn for it. An instance alone has only its own, in another order, and o is
    biased, the more the fewer coordinates there are. Compiled code, which cannot count, measures it at every call.

    Instances without a gradient, or with one that is not finite, do not count. The state is in buffers: training
    resumes from a checkpoint bit by bit.

    Args:
        target: ``"auto"``, or in the units of ``measure``.
        beta: to start from; 0 means ``smallest``.
        measure: what density counts: ``"per_sample"``, coordinates that change in a sample; ``"averaged"``, coordinates
            in which the mean over samples changes, which may saturate below any target; ``"turnover"``, the share of
            the ones that change.
        average: samples over which differences are averaged before ``"per_sample"`` counts; it divides S.
        reference: of the length of the scores, see :class:`Normalised`.
        rate: of learning.
        decay: of the running means, from 0 to below 1.
        smallest: lower limit of ``beta``, > 0.
        largest: upper limit, a guard where a target is out of reach.

    Raises:
        ValueError: if a number is out of its range or a name unknown.

    References:
        Minervini, Franceschi and Niepert, "Adaptive Perturbation-Based Gradient Estimation for Discrete Latent Variable
        Models", AAAI 2023, whose own rule is :class:`PaperStep`.

    Example:
        >>> step = AdaptiveStep(target=2.0)
        >>> step.beta
        tensor(1.)
        >>> step.freeze()  # for the rest of the training
    """

    log_beta: Tensor
    means: Tensor
    known: Tensor

    def __init__(
        self,
        target: float | Literal["auto"] = "auto",
        beta: float = 1.0,
        measure: Measure = "per_sample",
        average: int = 1,
        reference: Reference = "perturbed",
        rate: float = 0.15,
        decay: float = 0.8,
        smallest: float = 1e-4,
        largest: float = 30.0,
    ) -> None:
        super().__init__()
        _check(target, beta, measure, average, decay, smallest, largest)
        self.target, self.measure, self.average = target, measure, average
        self.reference = check_reference(reference)
        self.rate, self.decay = rate, decay
        self.limits = (math.log(smallest), math.log(largest))
        self.clock = _Clock()
        means = 3 if target == "auto" else 1  # density; and own turnover, and coordinates that can change
        self.register_buffer("log_beta", torch.tensor(math.log(max(beta, smallest))))
        self.register_buffer("means", torch.zeros(means))
        self.register_buffer("known", torch.zeros(means))  # 1 where there is a mean

    @property
    def beta(self) -> Tensor:
        """The present relative length."""
        return self.log_beta.exp()

    @property
    def density(self) -> Tensor:
        """The running mean of the density."""
        return self.means[0]

    def forward(self, slope: Slope, points: Tensor, scores: Tensor) -> Move:
        """``beta |scores_i| g_i / |g_i|``."""
        beta = self.beta.to(points.dtype)
        return relative(beta, slope, REFERENCES[self.reference](points, scores), (0, 2))

    def look(self, q: Any, noise: Tensor, z: Tensor) -> Tensor | None:
        """How independent samples differ, if the target depends on it."""
        if self.target != "auto" or not self.learns:
            return None
        if q.noise is None:
            raise ValueError(
                "target='auto' compares a difference with two samples of a noisy law, and this law has no noise; give "
                "the step a target in coordinates, or the law some noise"
            )
        one = z.shape[: z.dim() - q.scores.dim()].numel() == 1
        if not one or torch.compiler.is_compiling():
            return own_turnover(q, noise, z)
        return own_turnover(q, noise, z) if self.clock.strikes else None

    def learn(self, outcome: Outcome) -> None:
        """See the class. The clock goes on here: a forward pass that failed, or is computed again, leaves it."""
        super().learn(outcome)
        if self.learns and not torch.compiler.is_compiling():
            self.clock.ticks += 1

    def evidence(self, outcome: Outcome) -> Tensor:
        """Sums over instances of the density, and of the target and its limit if known; then how many instances."""
        density = MEASURES[self.measure](outcome, self.average).sum()
        active = outcome.active.any(0).sum()
        if outcome.about_law is None:
            return torch.stack([density, active])
        own, room, count = outcome.about_law.unbind()
        strength = _STRENGTH[outcome.central] / (1 + len(outcome.changed) / 10) ** 0.5
        return torch.stack([density, strength * own, _SHARE * room, active, count, count])

    def update(self, sums: Tensor) -> None:
        """The running means, and ``beta`` by them: where there was no gradient, or no mean yet, nothing changes."""
        totals, counts = sums.to(self.means.dtype).chunk(2)
        seen, means, known = counts.clamp(max=1), self.means[: len(totals)], self.known[: len(totals)]
        weight = torch.addcmul(seen, seen, known, value=-self.decay)  # 1 at first, then 1 - decay; 0 if not seen
        means.lerp_(totals / counts.clamp(min=1), weight)
        known.clamp_(min=seen)
        logs = (self.means + _SOFT).log()
        target = logs[1:].amin() if self.target == "auto" else math.log(self.target + _SOFT)
        change = (target - logs[0]).clamp(-1, 1) * (seen[0] * self.known.amin())
        self.log_beta.add_(change, alpha=self.rate).clamp_(*self.limits)

    def get_extra_state(self) -> int:
        """Where the clock stands, which decides when the law is probed."""
        return self.clock.ticks

    def set_extra_state(self, state: int) -> None:
        """Set the clock."""
        self.clock.ticks = state


@dataclass
class _Clock:
    """Counts the passes that were learnt from; not a tensor, as it decides what is computed."""

    ticks: int = 0

    @property
    def strikes(self) -> bool:
        """Whether it is time to probe."""
        return self.ticks % _PROBE_EVERY == 0


def _check(
    target: float | str, beta: float, measure: str, average: int, decay: float, smallest: float, largest: float
) -> None:
    if target != "auto" and not (isinstance(target, (int, float)) and target > 0):
        raise ValueError(f"target must be 'auto' or a number > 0, got {target!r}")
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    if target == "auto" and (measure, average) != ("per_sample", 1):
        raise ValueError(f"target='auto' is one of measure='per_sample' with average=1, got {measure!r} and {average}")
    if not 0 < smallest <= largest or not 0 <= beta <= largest:
        raise ValueError(f"expected 0 < smallest, and beta, <= largest, got {smallest}, {beta} and {largest}")
    if average < 1 or not 0 <= decay < 1:
        raise ValueError(f"expected average >= 1 and 0 <= decay < 1, got {average} and {decay}")
