"""The law of what a solver says to perturbed scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from logprob.discrete.noise import Gumbel, Noise
from logprob.discrete.solve import solve
from logprob.discrete.solvers.base import Solver
from logprob.distributions import IntractableError, UnnormalizedDistribution
from logprob.gradients import PathwiseGradient

_EXACT = "KSubset and SpanningTrees have it exactly, draw_with_log_prob gives that of the perturbed scores"


class PerturbAndMAP(UnnormalizedDistribution):
    """``z = solver(scores + temperature * noise)``: noisy scores and their best structure.

    Any solver makes a law this way, whose samples cost one call each. For one-of-n answers and Gumbel noise it is the
    categorical law ``softmax(scores / temperature)``; for other structures it is *not* ``p(z)`` proportional to
    ``exp <z, scores>``, and its probabilities have no closed form. The gradient of its samples is that of ``gradient``,
    which estimates how ``E f(z)`` changes with the scores.

    ``batch_shape + event_shape`` is the shape of the scores. In half precision, noise and solver have float32.

    Args:
        scores: shape ``(*batch, *event)``; costs, if the solver minimises.
        solver: finds the best structure; it says how many dimensions an event has.
        noise: law of the perturbations; None solves for the scores as they are.
        temperature: of the noise, a number >= 0, or a tensor that broadcasts to the batch shape; it gets a gradient.
        gradient: rule of the backward pass; a new :class:`AIMLE` if omitted. One that adapts should be made once, and
            be given to every law.
        instance: further arguments of the solver, such as masks or graphs. Tensors have the batch shape in front, and
            get no gradient.
        generator: of the noise; torch's default one if omitted.

    Raises:
        ValueError: if the scores are no floating-point tensor with an event, a tensor does not fit the batch shape, or
            the temperature is negative.

    References:
        Papandreou and Yuille, "Perturb-and-MAP Random Fields", ICCV 2011.

    Example:
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> scores = torch.zeros(3, 10, requires_grad=True)
        >>> z = PerturbAndMAP(scores, TopK(4)).rsample((100,))
        >>> z.shape, z.sum(-1).unique()
        (torch.Size([100, 3, 10]), tensor([4.], grad_fn=<Unique2Backward0>))
        >>> (z.mean(0) ** 2).sum().backward()
        >>> scores.grad.shape
        torch.Size([3, 10])
    """

    has_rsample = True

    def __init__(
        self,
        scores: Tensor,
        solver: Solver,
        noise: Noise | None = Gumbel(),  # noqa: B008  (frozen)
        temperature: float | Tensor = 1.0,
        gradient: PathwiseGradient | None = None,
        instance: Mapping[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        _check_scores(scores, solver)
        self.scores, self.solver, self.noise = scores, solver, noise
        self.temperature = temperature
        self.instance = dict(instance or {})
        self.generator = generator
        self._gradient = gradient
        cut = scores.dim() - solver.event_dim
        super().__init__(scores.shape[:cut], scores.shape[cut:], validate_args=False)
        _check_batch(self.batch_shape, temperature, self.instance)

    @property
    def support(self) -> Any:
        """Vectors, or arrays, of zeros and ones if the solver is binary, of real numbers if not."""
        entry = constraints.boolean if self.solver.binary else constraints.real
        return constraints.independent(entry, self.solver.event_dim)

    @property
    def gradient(self) -> PathwiseGradient:
        """The rule of the backward pass."""
        if self._gradient is None:
            from logprob.discrete.implicit import AIMLE  # which knows this file

            self._gradient = AIMLE()
        return self._gradient

    def expand(self, batch_shape: Any, _instance: Any = None) -> PerturbAndMAP:
        """The same law with a batch shape; nothing is copied, and the gradient is shared."""
        batch, old = torch.Size(batch_shape), len(self.batch_shape)
        scores = self.scores.expand(batch + self.event_shape)
        instance = {
            name: value.expand(batch + value.shape[old:]) if isinstance(value, Tensor) else value
            for name, value in self.instance.items()
        }
        settings = (self.noise, self.temperature, self.gradient, instance, self.generator)
        return PerturbAndMAP(scores, self.solver, *settings)

    def draw_noise(self, sample_shape: Any = ()) -> Tensor:
        """Noise of unit temperature, ``sample_shape + batch_shape + event_shape``; zeros if there is none."""
        shape = torch.Size(sample_shape) + self.scores.shape
        dtype, device = _computing(self.scores.dtype), self.scores.device
        if self.noise is None:
            return torch.zeros(shape, dtype=dtype, device=device)
        return self.noise.sample(shape, generator=self.generator, dtype=dtype, device=device)

    def perturb(self, noise: Tensor, alpha: float = 1.0, temperature: float | Tensor | None = None) -> Tensor:
        """``alpha scores + temperature noise``, differentiable, in the type of the noise.

        Args:
            noise: as of :meth:`draw_noise`.
            alpha: factor of the scores.
            temperature: of the noise; that of the law if omitted.
        """
        temperature = self.temperature if temperature is None else temperature
        scores = self.scores.to(noise.dtype)
        scores = scores if alpha == 1 else alpha * scores
        if isinstance(temperature, Tensor):
            return scores + self._per_event(temperature).to(noise) * noise
        return torch.add(scores, noise, alpha=temperature)

    def solve(self, scores: Tensor, active: Tensor | None = None) -> Tensor:
        """The solver's answers to scores ``sample_shape + batch_shape + event_shape``, without gradient.

        One call of the solver: sample and batch dimensions are made one, instance tensors are repeated.

        Args:
            scores: perturbed or not.
            active: rows that are wanted, boolean, broadcasts to ``sample_shape + batch_shape``; the answers to others
                may be zeros.

        Raises:
            ValueError: if the solver gives another shape or type.
        """
        return solve(self.solver, scores, self.instance, len(self.batch_shape), active)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples ``sample_shape + batch_shape + event_shape`` whose backward pass is that of ``gradient``."""
        return self.gradient.rsample(self, torch.Size(sample_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples without gradient: one row of the solver for each."""
        with torch.no_grad():
            return self.solve(self.perturb(self.draw_noise(sample_shape))).to(self.scores.dtype)

    @property
    def mode(self) -> Tensor:
        """The solver's answer without noise, ``batch_shape + event_shape``.

        It is the most probable z for one-of-n answers; otherwise it need not be.
        """
        scores = self.scores.detach()
        return self.solve(scores.to(_computing(scores.dtype))).to(scores.dtype)

    def marginals(self, samples: int) -> Tensor:
        """The mean of so many samples, ``batch_shape + event_shape``: an estimate of ``E z``, without gradient."""
        with torch.no_grad():
            return self.solve(self.perturb(self.draw_noise((samples,)))).mean(0).to(self.scores.dtype)

    def draw_with_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Samples, and the log-density of the perturbed scores that made them: what a score function needs.

        Returns:
            z ``sample_shape + batch_shape + event_shape`` without gradient, and log-densities in nats ``sample_shape +
            batch_shape``, differentiable in the scores and the temperature.

        Raises:
            IntractableError: if there is no noise, or its density has no closed form.
        """
        if self.noise is None or (not isinstance(self.temperature, Tensor) and self.temperature == 0):
            raise IntractableError("without noise a sample has no density; give the law some, such as Gumbel()")
        noise = self.draw_noise(sample_shape)
        points = self.perturb(noise).detach()
        temperature = torch.as_tensor(self.temperature, dtype=noise.dtype, device=noise.device)
        standard = (points - self.scores.to(noise.dtype)) / self._per_event(temperature)
        log_prob = self.noise.log_prob(standard).sum(tuple(range(-self.solver.event_dim, 0)))
        return self.solve(points).to(self.scores.dtype), log_prob - self.event_shape.numel() * temperature.log()

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """Refused: it has no closed form."""
        raise IntractableError(f"PerturbAndMAP has no log_prob in closed form; {_EXACT}")

    def entropy(self) -> Tensor:
        """Refused: it has no closed form."""
        raise IntractableError(f"PerturbAndMAP has no entropy in closed form; {_EXACT}")

    @property
    def mean(self) -> Tensor:
        """Refused: it has no closed form."""
        raise IntractableError("PerturbAndMAP has no mean in closed form; marginals(samples) estimates it")

    @property
    def variance(self) -> Tensor:
        """Refused: it has no closed form."""
        raise IntractableError(
            "PerturbAndMAP has no variance in closed form; of binary z it is m (1 - m), m = marginals(samples)"
        )

    def _per_event(self, value: Tensor) -> Tensor:
        """A tensor of the batch with dimensions for the event."""
        return value[(...,) + (None,) * self.solver.event_dim]


def check_perturbed(q: Any, gradient: PathwiseGradient) -> None:
    """Refuse laws that are not of perturbed scores.

    Raises:
        TypeError: if q is not a :class:`PerturbAndMAP`.
    """
    if not isinstance(q, PerturbAndMAP):
        own, law = type(gradient).__name__, type(q).__name__
        raise TypeError(
            f"{own} is a gradient of perturbed scores, PerturbAndMAP, got {law}; for an exact law of structures take "
            f"ByPerturbation({own}(...))"
        )


def _computing(dtype: torch.dtype) -> torch.dtype:
    """Half precision would tie perturbed scores."""
    return torch.promote_types(dtype, torch.float32)


def _check_scores(scores: Any, solver: Solver) -> None:
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        raise ValueError(f"expected scores in floating point, got {getattr(scores, 'dtype', type(scores).__name__)}")
    if scores.dim() < solver.event_dim:
        raise ValueError(
            f"expected scores of shape (*batch, *event) with {solver.event_dim} dimensions of the event, "
            f"got {tuple(scores.shape)}"
        )


def _check_batch(batch: torch.Size, temperature: float | Tensor, instance: Mapping[str, Any]) -> None:
    """Temperatures broadcast to the batch; tensors of an instance have it in front."""
    if not isinstance(temperature, Tensor):
        if not temperature >= 0:
            raise ValueError(f"expected temperature >= 0, got {temperature}")
    elif not _broadcasts(temperature.shape, batch):
        raise ValueError(f"expected a temperature that broadcasts to {tuple(batch)}, got {tuple(temperature.shape)}")
    for name, value in instance.items():
        if isinstance(value, Tensor) and value.shape[: len(batch)] != batch:
            raise ValueError(
                f"expected {name} to have the batch shape {tuple(batch)} in front, got {tuple(value.shape)}; "
                "expand what all instances share, or bind it to the solver"
            )


def _broadcasts(shape: torch.Size, batch: torch.Size) -> bool:
    """Whether a shape broadcasts to the batch shape without making it larger."""
    pairs = zip(shape[::-1], batch[::-1], strict=False)
    return len(shape) <= len(batch) and all(mine in (1, theirs) for mine, theirs in pairs)
