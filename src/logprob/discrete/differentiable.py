"""Any solver as a layer of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor, nn

from logprob.discrete.implicit import AIMLE
from logprob.discrete.noise import Gumbel, Noise
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.function import FunctionSolver
from logprob.gradients import PathwiseGradient

_GUMBEL = Gumbel()


class DifferentiableSolver(nn.Module):
    """A solver as a layer, ``z = layer(scores)``: what :func:`differentiable` makes.

    In training mode the answers are samples of :class:`PerturbAndMAP`, with the gradient of ``gradient``; in evaluation
    mode they are those to the scores without noise, at the cost of one solve, and carry no gradient.

    Args:
        solver: of any problem.
        gradient: rule of the backward pass; a new :class:`AIMLE` if omitted. Its state is part of this module's.
        noise: of the scores in training mode; None has the layer solve for the scores themselves.
        temperature: of the noise, a number, or a parameter of shape ``()`` to be learned.
        samples: to be drawn of every instance; None draws one, and adds no dimension.
        noisy_eval: draw samples in evaluation mode too.

    Raises:
        TypeError: if the gradient is not one of samples; a score function, which needs the loss, takes :meth:`law`.
        ValueError: if there is no sample to be drawn.
    """

    def __init__(
        self,
        solver: Solver,
        gradient: PathwiseGradient | None = None,
        noise: Noise | None = _GUMBEL,
        temperature: float | Tensor = 1.0,
        samples: int | None = None,
        noisy_eval: bool = False,
    ) -> None:
        super().__init__()
        self.solver = solver
        self.gradient = _check_gradient(AIMLE() if gradient is None else gradient)
        self.noise, self.temperature = noise, temperature
        self.samples, self.noisy_eval = _check_samples(samples), noisy_eval

    def law(self, scores: Tensor, /, *, generator: torch.Generator | None = None, **instance: Any) -> PerturbAndMAP:
        """The distribution of the noisy answers."""
        settings = (self.noise, self.temperature, self.gradient, instance, generator)
        return PerturbAndMAP(scores, self.solver, *settings)

    def forward(
        self,
        scores: Tensor,
        /,
        *,
        generator: torch.Generator | None = None,
        samples: int | None = None,
        **instance: Any,
    ) -> Tensor:
        """The answers.

        Args:
            scores: shape ``(*batch, *event)``, any batch shape; costs, if the solver minimises.
            generator: of the noise; torch's default one if omitted.
            samples: instead of those of the layer.
            instance: further arguments of the solver. Tensors have the batch shape in front and get no gradient; what
                is not a tensor is passed as it is.

        Returns:
            z of shape ``(*batch, *event)``, or ``(samples, *batch, *event)`` if a number of samples is given.
        """
        samples = self.samples if samples is None else _check_samples(samples)
        shape = torch.Size(() if samples is None else (samples,))
        q = self.law(scores, generator=generator, **instance)
        return q.rsample(shape) if self.training or self.noisy_eval else q.mode.expand(shape + scores.shape)

    def extra_repr(self) -> str:
        """Solver, noise and temperature."""
        return f"{self.solver}, noise={self.noise}, temperature={self.temperature}, samples={self.samples}"


@overload
def differentiable(
    solver: Solver | Callable[..., Tensor], gradient: PathwiseGradient | None = None, **settings: Any
) -> DifferentiableSolver: ...


@overload
def differentiable(
    solver: None = None, gradient: PathwiseGradient | None = None, **settings: Any
) -> Callable[[Solver | Callable[..., Tensor]], DifferentiableSolver]: ...


def differentiable(
    solver: Solver | Callable[..., Tensor] | None = None,
    gradient: PathwiseGradient | None = None,
    *,
    noise: Noise | None = _GUMBEL,
    temperature: float | Tensor = 1.0,
    samples: int | None = None,
    noisy_eval: bool = False,
    **form: Any,
) -> Any:
    """A solver, or any function that solves, as a layer with gradients.

    As a decorator, ``@differentiable`` or ``@differentiable(...)``, it makes a layer of a function ``f(scores,
    **instance)`` of scores ``(N, *event)``. To be pickled, the layer needs another name than its function:
    ``layer = differentiable(function)``.

    Args:
        solver: a solver, or a batched function of tensors, whose answers are then checked.
        gradient: rule of the backward pass; :class:`AIMLE` if omitted, which needs no tuning.
        noise: of the scores in training mode, see :class:`DifferentiableSolver`.
        temperature: of the noise.
        samples: of every instance.
        noisy_eval: draw samples in evaluation mode too.
        form: of a function: ``event_dim`` (1), ``maximize`` (True), ``binary`` (True), see :class:`FunctionSolver`.

    Returns:
        The layer, ``layer(scores, generator=None, samples=None, **instance)``; or a decorator, if no solver is given.

    Raises:
        TypeError: if the form of a :class:`Solver`, which knows its own, is given.

    Example:
        >>> @differentiable(temperature=0.5, samples=4)
        ... def largest(scores):
        ...     return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)
        >>> scores = torch.randn(2, 3, 10, requires_grad=True)
        >>> z = largest(scores)
        >>> (z @ torch.randn(10)).mean().backward()
        >>> z.shape, scores.grad.shape
        (torch.Size([4, 2, 3, 10]), torch.Size([2, 3, 10]))
        >>> largest.eval()(scores, samples=1).shape
        torch.Size([1, 2, 3, 10])
    """

    def layer(solver: Solver | Callable[..., Tensor]) -> DifferentiableSolver:
        return DifferentiableSolver(_as_solver(solver, form), gradient, noise, temperature, samples, noisy_eval)

    return layer if solver is None else layer(solver)


def _check_gradient(gradient: Any) -> PathwiseGradient:
    if isinstance(gradient, type):
        raise TypeError(f"expected a gradient, such as AIMLE(), got the class {gradient.__name__}")
    if not isinstance(gradient, PathwiseGradient):
        raise TypeError(
            f"expected a gradient of samples, such as AIMLE(), got {type(gradient).__name__}; an estimator that calls "
            "the function takes gradient(layer.law(scores), f)"
        )
    return gradient


def _check_samples(samples: int | None) -> int | None:
    if samples is not None and samples < 1:
        raise ValueError(f"expected samples >= 1, or None, got {samples}")
    return samples


def _as_solver(solver: Solver | Callable[..., Tensor], form: dict[str, Any]) -> Solver:
    if not isinstance(solver, Solver):
        return FunctionSolver(solver, **form)
    if form:
        raise TypeError(f"{type(solver).__name__} knows its own form, got {', '.join(form)}")
    return solver
