"""How good estimates of a gradient are, where the gradient itself can be computed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.gradients import Enumeration, GradientEstimator

Function = Callable[[Tensor], Tensor]


class GradientReport(NamedTuple):
    """What estimates of one gradient are like; means over the instances of a batch.

    Args:
        cosine: mean cosine between a single estimate and the exact gradient; 0 for an estimate that is zero.
        mean_cosine: cosine between the mean estimate and the exact gradient.
        bias: ``|E g - exact| / |exact|``; what noise alone would show is ``sqrt(variance / repeats)``.
        variance: ``tr Cov(g) / |exact|^2`` of one estimate.
        density: share of the coordinates of an estimate that are not zero.
    """

    cosine: float
    mean_cosine: float
    bias: float
    variance: float
    density: float


def gradient_report(estimates: Tensor, exact: Tensor, event_dim: int = 1) -> GradientReport:
    """Compare repeated estimates of gradients with the gradients.

    Args:
        estimates: ``(R, *batch, *event)``, R at least 2.
        exact: ``(*batch, *event)``; instances whose gradient is zero are left out.
        event_dim: number of dimensions of an event.

    Raises:
        ValueError: if the shapes do not fit, there is one estimate only, or every exact gradient is zero.

    Example:
        >>> import torch
        >>> gradient_report(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([1.0, 0.0]))
        GradientReport(cosine=0.5, mean_cosine=1.0, bias=0.0, variance=2.0, density=0.25)
    """
    if estimates.shape[1:] != exact.shape or len(estimates) < 2:
        raise ValueError(f"expected estimates (R, *{tuple(exact.shape)}), R > 1, got {tuple(estimates.shape)}")
    found = estimates.flatten(estimates.dim() - event_dim).double()
    found = found.reshape(len(found), -1, found.shape[-1])  # (R, N, E)
    truth = exact.reshape(found.shape[1:]).double()
    square = truth.square().sum(-1)
    found, truth, square = found[:, square > 0], truth[square > 0], square[square > 0]
    if not len(truth):
        raise ValueError("every exact gradient is zero: there is nothing to compare with")
    mean = found.mean(0)
    cosine = torch.nn.functional.cosine_similarity
    return GradientReport(
        cosine(found, truth.expand_as(found), -1).mean().item(),
        cosine(mean, truth, -1).mean().item(),
        ((mean - truth).square().sum(-1) / square).sqrt().mean().item(),
        (found.var(0).sum(-1) / square).mean().item(),
        (found != 0).double().mean().item(),
    )


@dataclass(frozen=True)
class GradientQuality:
    """An estimator's gradients of ``E_q f`` beside the exact one, at the scores that the model has.

    The law must be small enough to be enumerated. ``gradient_cosine``, ``gradient_bias``, ``gradient_variance`` and
    ``gradient_density`` as in :class:`GradientReport`. The rows are not looked at, but for their context.

    Args:
        function: f, a module from ``(S, *batch, *event)`` to ``(S, *batch)``.
        gradient: the estimator; a copy of it is used, which may adapt.
        samples: S, whose mean is one estimate.
        repeats: estimates.
        warm_up: backward passes before the first estimate, for those that adapt.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch
        >>> from logprob.discrete import FreeSubset, StraightThroughMarginals
        >>> from logprob.objectives import TanhNetwork
        >>> metric = GradientQuality(TanhNetwork(6), StraightThroughMarginals(), samples=10)
        >>> metric(FreeSubset([0.0, 0.5, 1.0, -1.0, 0.2, 0.0], k=2), Batch(torch.zeros(1, 1)))["gradient_cosine"] > 0.8
        True
    """

    function: nn.Module
    gradient: GradientEstimator
    samples: int = 1
    repeats: int = 64
    warm_up: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.repeats < 2 or self.warm_up < 0:
            raise ValueError(f"expected samples from 1, repeats from 2 and warm_up from 0, got {self}")

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Estimate the gradient with respect to the law's scores, again and again."""
        gradient = copy.deepcopy(self.gradient).train()
        with torch.enable_grad():
            exact = scores_gradient(Enumeration(), model(batch.context), self.function)
            draws = range(self.warm_up + self.repeats)
            found = [scores_gradient(gradient, model(batch.context), self.function, (self.samples,)) for _ in draws]
        law: Any = model(batch.context)
        report = gradient_report(torch.stack(found[self.warm_up :]), exact, len(law.event_shape))
        names = ("cosine", "bias", "variance", "density")
        return {f"gradient_{name}": getattr(report, name) for name in names}


def scores_gradient(gradient: GradientEstimator, law: Any, f: Function, sample_shape: tuple[int, ...] = ()) -> Tensor:
    """An estimate of the gradient of ``E_q f``, a mean over the samples, with respect to ``law.scores``."""
    value = gradient(law, f, sample_shape)
    samples = torch.Size(sample_shape).numel()
    (found,) = torch.autograd.grad(value.sum() / samples, law.scores, allow_unused=True)
    return torch.zeros_like(law.scores) if found is None else found
