"""The decorators of the published code, for programs that were written with them.

Samples have the published layout: a function of ``theta (B, ...)`` is called with ``(B S, ...)``, and gives as much,
the samples of an instance next to one another. So is the published convention of the loss: it is summed over samples,
and gradients are means over samples. New programs use :func:`differentiable`.

``SumOfGammaNoiseDistribution(k, nb_iterations)`` is :class:`SumOfGamma` ``(k, "gamma", nb_iterations)``, and
``GumbelNoiseDistribution()`` is :class:`Gumbel` ``()``: their location is 0, their scale the temperature.

Not the same as published, on purpose: the adaptive step divides by the ``lambda`` that it moved the scores by, which
the published code does for one sample only; a forward difference costs two solves where two will do; and further
arguments of the function are passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal

from torch import Tensor, nn

from logprob.discrete.finite_difference import Difference
from logprob.discrete.identity import StraightThroughIdentity
from logprob.discrete.implicit import IMLE
from logprob.discrete.noise import Noise
from logprob.discrete.paper_step import PaperStep
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.function import FunctionSolver
from logprob.gradients import PathwiseGradient

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class TargetDistribution:
    """Moves the scores to ``alpha theta - beta g``.

    Args:
        alpha: factor of the scores.
        beta: ``lambda``.
        do_gradient_scaling: divide by ``lambda``.
    """

    alpha: float = 1.0
    beta: float = 1.0
    do_gradient_scaling: bool = False


@dataclass(frozen=True)
class AdaptiveTargetDistribution:
    """The adaptive target, see :class:`PaperStep`; always divides by ``lambda``.

    Args:
        initial_alpha: factor of the scores.
        initial_beta: beta to start from.
        beta_update_step: by how much it moves.
        beta_update_momentum: of these moves.
        grad_norm_decay_rate: of the running mean.
        target_norm: number of coordinates that a difference should change.
    """

    initial_alpha: float = 1.0
    initial_beta: float = 1.0
    beta_update_step: float = 1e-4
    beta_update_momentum: float = 0.0
    grad_norm_decay_rate: float = 0.9
    target_norm: float = 1.0


Target = TargetDistribution | AdaptiveTargetDistribution


def imle(
    function: Function | None = None,
    target_distribution: Target | None = None,
    noise_distribution: Noise | None = None,
    nb_samples: int = 1,
    nb_marginal_samples: int = 1,
    theta_noise_temperature: float = 1.0,
    target_noise_temperature: float = 1.0,
    input_noise_temperature: float | None = None,
    is_minimization: bool = False,
) -> Any:
    """``@imle(...)``: forward differences that start from the answer of the forward pass.

    Args:
        function: batched solver.
        target_distribution: of the moved scores; ``TargetDistribution()`` if omitted.
        noise_distribution: None is no noise.
        nb_samples: of an instance.
        nb_marginal_samples: as many more of each, averaged before an adaptive step counts changes.
        theta_noise_temperature: of the noise in the forward pass.
        target_noise_temperature: of the noise in the backward pass.
        input_noise_temperature: name of ``theta_noise_temperature`` in the first version.
        is_minimization: whether the function minimises.

    Returns:
        The layer, a module that owns what the step learns; or a decorator, if there is no function.

    Example:
        >>> import torch
        >>> from logprob.discrete.noise import Gumbel
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> @imle(target_distribution=TargetDistribution(beta=10.0), noise_distribution=Gumbel(), nb_samples=3)
        ... def select(theta):
        ...     return TopK(2)(theta)
        >>> theta = torch.zeros(4, 5, requires_grad=True)
        >>> z = select(theta)
        >>> z[:, 0].sum().backward()
        >>> z.shape, theta.grad.shape
        (torch.Size([12, 5]), torch.Size([4, 5]))
    """
    temperature = theta_noise_temperature if input_noise_temperature is None else input_noise_temperature
    gradient = _gradient(target_distribution, "forward", "forward", target_noise_temperature, nb_marginal_samples)
    samples = nb_samples * nb_marginal_samples
    return _decorate(function, gradient, noise_distribution, temperature, samples, not is_minimization)


def aimle(
    function: Function | None = None,
    target_distribution: Target | None = None,
    noise_distribution: Noise | None = None,
    nb_samples: int = 1,
    nb_marginal_samples: int = 1,
    theta_noise_temperature: float = 1.0,
    target_noise_temperature: float = 1.0,
    symmetric_perturbation: bool = False,
    is_minimization: bool = False,
) -> Any:
    """``@aimle(...)``: as :func:`imle`, with central differences, or forward ones whose start is solved for again.

    Args:
        function: batched solver.
        target_distribution: of the moved scores; ``AdaptiveTargetDistribution()`` if omitted.
        noise_distribution: None is no noise.
        nb_samples: of an instance.
        nb_marginal_samples: as many more of each, averaged before an adaptive step counts changes.
        theta_noise_temperature: of the noise in the forward pass.
        target_noise_temperature: of the noise in the backward pass.
        symmetric_perturbation: central differences.
        is_minimization: whether the function minimises.

    Returns:
        The layer, or a decorator, as of :func:`imle`.
    """
    target = AdaptiveTargetDistribution() if target_distribution is None else target_distribution
    difference: Difference = "central" if symmetric_perturbation else "forward"
    gradient = _gradient(target, difference, "recompute", target_noise_temperature, nb_marginal_samples)
    samples = nb_samples * nb_marginal_samples
    return _decorate(function, gradient, noise_distribution, theta_noise_temperature, samples, not is_minimization)


def ste(
    function: Function | None = None,
    noise_distribution: Noise | None = None,
    noise_temperature: float = 1.0,
    nb_samples: int = 1,
) -> Any:
    """``@ste(...)``: straight through.

    Args:
        function: batched solver.
        noise_distribution: None is no noise.
        noise_temperature: of the noise.
        nb_samples: of an instance.

    Returns:
        The layer, or a decorator, as of :func:`imle`.
    """
    return _decorate(
        function, StraightThroughIdentity(reduction="paper"), noise_distribution, noise_temperature, nb_samples, True
    )


class _InstanceMajor(nn.Module):
    """A solver whose samples of an instance are next to one another, ``(B S, ...)``."""

    def __init__(
        self,
        function: Function,
        gradient: PathwiseGradient,
        noise: Noise | None,
        temperature: float,
        samples: int,
        maximize: bool,
    ) -> None:
        super().__init__()
        self.function, self.gradient, self.noise = function, gradient, noise
        self.temperature, self.samples, self.maximize = temperature, samples, maximize

    def forward(self, theta: Tensor, *args: Any, **instance: Any) -> Tensor:
        """Samples of ``theta (B, ...)``; tensors among the further arguments have B rows too."""
        instance |= self._named(theta, args) if args else {}
        solver = FunctionSolver(self.function, theta.dim() - 1, self.maximize, binary=False)
        q = PerturbAndMAP(theta, solver, self.noise, self.temperature, self.gradient, instance)
        return q.rsample((self.samples,)).transpose(0, 1).flatten(0, 1)

    def _named(self, theta: Tensor, args: tuple[Any, ...]) -> dict[str, Any]:
        """Arguments after theta by the names that the function has for them."""
        return dict(list(signature(self.function).bind_partial(theta, *args).arguments.items())[1:])


def _decorate(function: Function | None, *settings: Any) -> Any:
    """A layer, or what makes one of a function."""
    return _InstanceMajor(function, *settings) if function else lambda given: _InstanceMajor(given, *settings)


def _gradient(
    target: Target | None,
    difference: Difference,
    baseline: Literal["forward", "recompute"],
    temperature: float,
    average: int,
) -> IMLE:
    """The rule of a target."""
    target = TargetDistribution() if target is None else target
    if isinstance(target, TargetDistribution):
        scaled, alpha = target.do_gradient_scaling, target.alpha
        return IMLE(target.beta, difference, scaled, alpha, temperature, baseline, "paper")
    step = PaperStep(
        target.target_norm,
        target.initial_beta,
        target.beta_update_step,
        target.beta_update_momentum,
        target.grad_norm_decay_rate,
        average,
    )
    return IMLE(step, difference, True, target.initial_alpha, temperature, baseline, "paper")
