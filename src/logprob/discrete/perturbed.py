"""Perturbed optimisers: the mean of a solver's answers to noisy scores, and its derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from logprob.discrete.noise import Noise
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.gradients import PathwiseGradient

VarianceReduction = Literal["leave-one-out", "antithetic"]


class PerturbedOptimizer(PathwiseGradient):
    """The derivative of ``y(scores) = E solver(scores + sigma * noise)``, from the density of the noise.

    For answers ``z_s`` and gradients ``dy_s`` with respect to them, the gradient is::

        (1 / sigma) sum_s <dy_s, z_s> nu(noise_s)        nu = -d log p / d noise

    where sigma is the temperature of the law: ``q.rsample((S,)).mean(0)`` is the published layer, whose S was 1000 and
    sigma 0.05. No solver is called in the backward pass. It is unbiased for functions that are linear in z, or of the
    mean over many samples, with any solver, whether it maximises or minimises; its variance grows as ``1 / sigma^2``.
    Without leave-one-out, second derivatives are unbiased too.

    Args:
        variance_reduction: ``"leave-one-out"`` takes off ``<dy_s, z_s>`` its mean over the other samples;
            ``"antithetic"`` draws the second half of the samples with the negatives of the noise of the first. Neither
            changes the mean of the gradient.

    Raises:
        ValueError: if the name is unknown; on a call, if there are fewer than two samples to compare, or an odd number
            of first ones to pair, or if the noise to pair is not symmetric.
        IntractableError: on a call, if there is no noise or its density has no closed form.

    References:
        Berthet, Blondel, Teboul, Cuturi, Vert and Bach, "Learning with Differentiable Perturbed Optimizers", NeurIPS
        2020.

    Example:
        >>> from logprob.discrete.noise import Normal
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> scores = torch.tensor([0.5, 0.0, -0.5], requires_grad=True)
        >>> q = PerturbAndMAP(scores, TopK(1), Normal(), temperature=0.5, gradient=PerturbedOptimizer("antithetic"))
        >>> y = q.rsample((1000,)).mean(0)
        >>> y[0].backward()
        >>> bool(scores.grad[0] > 0), scores.grad.shape
        (True, torch.Size([3]))
    """

    def __init__(self, variance_reduction: VarianceReduction | None = None) -> None:
        super().__init__()
        if variance_reduction not in (None, "leave-one-out", "antithetic"):
            raise ValueError(
                f"variance_reduction must be leave-one-out, antithetic or None, got {variance_reduction!r}"
            )
        self.variance_reduction = variance_reduction

    def rsample(self, q: Any, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Samples ``sample_shape + batch_shape + event_shape`` of a law with ``draw_with_log_prob``."""
        shape = torch.Size(sample_shape)
        centred = self.variance_reduction == "leave-one-out"
        if centred and shape.numel() < 2:
            raise ValueError(f"leave-one-out needs at least 2 samples, got {tuple(shape)}")
        if self.variance_reduction == "antithetic":
            q = _mirrored(q, shape)
        z, log_prob = q.draw_with_log_prob(shape)
        if centred:
            log_prob = _less_mean_of_others(log_prob, len(shape))
        # A factor of one, to the bit, whose derivatives are those of a ratio of densities.
        one = (log_prob - log_prob.detach()).exp()
        return (z.to(one.dtype) * one[(..., *[None] * len(q.event_shape))]).to(z.dtype)


def _less_mean_of_others(x: Tensor, dims: int) -> Tensor:
    """Less the mean of the other samples, in the first ``dims`` dimensions; the linear map is its own transpose."""
    count = x.shape[:dims].numel()
    return (x - x.mean(tuple(range(dims)), keepdim=True)) * (count / (count - 1))


def _mirrored(q: PerturbAndMAP, sample_shape: torch.Size) -> PerturbAndMAP:
    """The law with noise in pairs along the first dimension of samples."""
    if not sample_shape or sample_shape[0] % 2:
        raise ValueError(f"antithetic samples come in pairs: expected an even first number, got {tuple(sample_shape)}")
    if q.noise is None or not q.noise.symmetric:
        raise ValueError(f"antithetic samples need symmetric noise, such as Normal() or Logistic(), got {q.noise}")
    return PerturbAndMAP(q.scores, q.solver, _Mirrored(q.noise), q.temperature, q.gradient, q.instance, q.generator)


@dataclass(frozen=True)
class _Mirrored(Noise):
    """Noise whose second half, along the first dimension, is the negative of the first."""

    noise: Noise

    @property
    def mean(self) -> float:
        """Of one number."""
        return self.noise.mean

    @property
    def std(self) -> float:
        """Of one number."""
        return self.noise.std

    def sample(self, shape: torch.Size | tuple[int, ...], **settings: Any) -> Tensor:
        """Pairs."""
        half = self.noise.sample((shape[0] // 2, *shape[1:]), **settings)
        return torch.cat([half, -half])

    def log_prob(self, noise: Tensor) -> Tensor:
        """Of each number for itself."""
        return self.noise.log_prob(noise)

    def score(self, noise: Tensor) -> Tensor:
        """Of each number for itself."""
        return self.noise.score(noise)
