"""Implicit maximum likelihood: finite differences of a solver along the gradient of what follows it."""

from __future__ import annotations

import warnings
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from logprob.discrete.adaptive_step import AdaptiveStep
from logprob.discrete.attach import attach, transformed
from logprob.discrete.finite_difference import Difference, FiniteDifference
from logprob.discrete.perturb_and_map import check_perturbed
from logprob.discrete.record import Diagnostics, Record
from logprob.discrete.reduction import Reduction, factors
from logprob.discrete.steps import StepSize, as_step
from logprob.gradients import PathwiseGradient

_STUCK = 0.99  # share of samples without a gradient from which training hardly moves


class IMLE(PathwiseGradient):
    r"""Implicit maximum likelihood estimation: the gradient of a sample by a finite difference of its solver.

    A sample is ``z = solver(u)`` of perturbed scores u. With g the gradient of the loss with respect to z, that with
    respect to the scores is estimated by solving again for scores that moved along it:

    .. math:: \frac{z(u) - z(u - \lambda g)}{\lambda} \quad\text{or}\quad
        \frac{z(u + \lambda g) - z(u - \lambda g)}{2 \lambda}

    For linear losses it is unbiased up to O(lambda), or O(lambda^2) for the central difference, which is right in the
    limit for quadratic losses too; the variance is of the order 1 / lambda. Costs 2 solves a sample, or 3. Under
    ``torch.no_grad``, 1.

    A second backward pass takes the solver's answers as constants: of a fixed step it sees zero.

    Args:
        step: ``lambda``, a number or a step size: :class:`Fixed`, :class:`Normalised`, :class:`Sign`,
            :class:`AdaptiveStep`, :class:`PaperStep`.
        difference: ``"forward"`` or ``"central"``.
        scaled: divide by ``lambda``; without it the length of the gradient does not depend on that of g.
        alpha: the moved scores are ``alpha scores + target_temperature noise``.
        target_temperature: of the noise there; the law's own if omitted.
        baseline: where alpha or that temperature differ from the law's, whether a forward difference starts from the
            ``"forward"`` answer, or solves for the scores that are not moved, ``"recompute"``.
        reduction: how the loss is made of the S samples, so that the step sees the gradient of one sample. A ``"mean"``
            gets 1 / S of the gradient of a ``"sum"``, neither depends on S otherwise. ``"paper"`` is the published
            convention: the loss is a sum, its gradient the mean over samples.

    Raises:
        ValueError: if a name is unknown or a number out of its range.

    References:
        Niepert, Minervini and Franceschi, "Implicit MLE: Backpropagating Through Discrete Exponential Family
        Distributions", NeurIPS 2021; Minervini, Franceschi and Niepert, AAAI 2023.

    Example:
        >>> from logprob.discrete.perturb_and_map import PerturbAndMAP
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> scores, target = torch.zeros(3, 10, requires_grad=True), torch.ones(10)
        >>> gradient = IMLE(step=2.0, difference="central")
        >>> z = PerturbAndMAP(scores, TopK(4), gradient=gradient).rsample((8,))
        >>> ((z - target) ** 2).sum(-1).mean().backward()
        >>> scores.grad.shape, gradient.diagnostics().solves
        (torch.Size([3, 10]), 24.0)
    """

    def __init__(
        self,
        step: float | StepSize = 1.0,
        difference: Difference = "forward",
        scaled: bool = True,
        alpha: float = 1.0,
        target_temperature: float | None = None,
        baseline: Literal["forward", "recompute"] = "forward",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        _check_name("difference", difference, get_args(Difference))
        _check_name("baseline", baseline, ("forward", "recompute"))
        _check_name("reduction", reduction, get_args(Reduction))
        self.step = as_step(step)
        self.difference, self.scaled, self.reduction = difference, scaled, reduction
        self.alpha, self.target_temperature, self.baseline = alpha, target_temperature, baseline
        self.record = Record()

    def rsample(self, q: Any, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Samples of a :class:`PerturbAndMAP`, ``sample_shape + batch_shape + event_shape``.

        Raises:
            TypeError: if q is another law.
        """
        check_perturbed(q, self)
        noise = q.draw_noise(sample_shape)
        points = q.perturb(noise)
        with torch.no_grad():
            z = q.solve(points)
        if not (torch.is_grad_enabled() and (points.requires_grad or transformed(points))):
            return z.to(q.scores.dtype)
        samples = torch.Size(sample_shape).numel()
        rule = FiniteDifference(
            q,
            samples,
            self.step,
            self.difference == "central",
            self.scaled,
            factors(self.reduction, samples),
            self.record,
        )
        return attach(points, z, q.scores.dtype, rule, **self._saved(q, noise, z))

    def _saved(self, q: Any, noise: Tensor, z: Tensor) -> dict[str, Tensor]:
        """What the backward pass wants to see again, besides the points."""
        scores = q.scores.detach().to(noise.dtype)
        saved = {"scores": scores, "about_law": self.step.look(q, noise, z)}
        if self._elsewhere(q.temperature):
            saved["base"] = q.perturb(noise, self.alpha, self.target_temperature).detach()
        if self.difference == "forward" and ("base" not in saved or self.baseline == "forward"):
            saved["z"] = z.to(torch.int8) if q.solver.binary else z  # a byte each
        return {name: value for name, value in saved.items() if value is not None}

    def _elsewhere(self, temperature: float | Tensor) -> bool:
        """Whether other scores than those of the samples are moved; a tensor is not looked into."""
        own = self.target_temperature
        same = own is None or (not isinstance(temperature, Tensor) and own == temperature)
        return self.alpha != 1 or not same

    def extra_repr(self) -> str:
        """The options."""
        return f"difference={self.difference!r}, scaled={self.scaled}, reduction={self.reduction!r}"

    def diagnostics(self) -> Diagnostics:
        """The last backward pass in numbers; waits for the device.

        Warns if it gave next to no gradient, as happens to steps that are short beside the scores.
        """
        found = self.record.read()
        if found.zero_share > _STUCK:
            warnings.warn(
                f"{found.zero_share:.1%} of the samples had no gradient: the step is too short for the scores, or the "
                "loss does not depend on them; AIMLE finds a step by itself",
                stacklevel=2,
            )
        return found


class AIMLE(IMLE):
    """Adaptive :class:`IMLE`: with an :class:`AdaptiveStep` and, by default, the central difference.

    Nothing needs to be tuned. Make it once, so that it can learn: its state is part of the checkpoint of the model that
    owns it.

    Args:
        target: of the number of coordinates that a difference changes; ``"auto"`` follows the law.
        difference: ``"forward"`` or ``"central"``.
        reduction: how the loss is made of the samples, see :class:`IMLE`.

    Raises:
        ValueError: if a name is unknown or the target not positive.

    References:
        Minervini, Franceschi and Niepert, "Adaptive Perturbation-Based Gradient Estimation for Discrete Latent Variable
        Models", AAAI 2023. The rule of that paper is ``IMLE(PaperStep())``.

    Example:
        >>> from logprob.discrete.perturb_and_map import PerturbAndMAP
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> scores, gradient = torch.zeros(16, 10, requires_grad=True), AIMLE()
        >>> for _ in range(20):
        ...     z = PerturbAndMAP(scores, TopK(4), gradient=gradient).rsample((8,))
        ...     ((z - torch.ones(10)) ** 2).sum(-1).mean().backward()
        >>> 0.1 < gradient.step.beta < 3
        tensor(True)
    """

    def __init__(
        self,
        target: float | Literal["auto"] = "auto",
        difference: Difference = "central",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(AdaptiveStep(target), difference, reduction=reduction)


class BlackBox(IMLE):
    """Differentiation of black-box solvers: the forward difference of a law without noise.

    It is the gradient of a piecewise linear interpolation of ``f(solver(scores))`` with steps of ``lambda``.

    Args:
        step: ``lambda``, a number or a step size that needs no noise.

    Raises:
        ValueError: by ``rsample``, if the law has noise.

    References:
        Vlastelica, Paulus, Musil, Martius and Rolinek, "Differentiation of Blackbox Combinatorial Solvers", ICLR 2020.

    Example:
        >>> from logprob.discrete.perturb_and_map import PerturbAndMAP
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> scores = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
        >>> z = PerturbAndMAP(scores, TopK(1), noise=None, gradient=BlackBox(5.0)).rsample()
        >>> (z @ torch.tensor([0.0, 0.0, 1.0])).backward()
        >>> scores.grad
        tensor([ 0.0000, -0.2000,  0.2000])
    """

    def __init__(self, step: float | StepSize = 1.0) -> None:
        super().__init__(step, "forward")

    def rsample(self, q: Any, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """The answer without noise, for every sample."""
        check_perturbed(q, self)
        if q.noise is not None:
            raise ValueError(
                f"BlackBox differentiates solvers of scores without noise, got {q.noise}; use IMLE, or noise=None"
            )
        return super().rsample(q, sample_shape)


def _check_name(argument: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise ValueError(f"{argument} must be one of {', '.join(names)}, got {name!r}")
