"""Gradients of perturbed solvers for exact laws."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from logprob.discrete.noise import Gumbel, Noise
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.gradients import PathwiseGradient


class ByPerturbation(PathwiseGradient):
    """Samples of an exact law's scores, perturbed and solved: its :class:`PerturbAndMAP` stands in for it.

    Where the law is not one-of-n, the samples have another law than q, with the same scores and near marginals. The
    estimate is compared with q's own gradient all the same: that is what it is an approximation of.

    Args:
        gradient: of the samples, such as :class:`IMLE`.
        noise: of the perturbations.
        temperature: of the noise.

    Example:
        >>> import torch
        >>> from logprob.discrete.implicit import AIMLE
        >>> from logprob.discrete.k_subset import KSubset
        >>> scores = torch.zeros(3, 10, requires_grad=True)
        >>> gradient = ByPerturbation(AIMLE())
        >>> gradient(KSubset(scores, 4), lambda z: z[..., 0], (100,)).mean().backward()
        >>> bool((scores.grad[:, 0] > 0).all())
        True
    """

    def __init__(
        self,
        gradient: PathwiseGradient,
        noise: Noise | None = Gumbel(),  # noqa: B008  (frozen)
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.gradient, self.noise, self.temperature = gradient, noise, temperature

    def rsample(self, q: Any, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Samples ``sample_shape + batch_shape + event_shape``.

        Args:
            q: has ``scores`` and ``solver``.
            sample_shape: of independent samples.

        Raises:
            TypeError: if q has no scores or no solver, or is a :class:`PerturbAndMAP` itself.
        """
        if isinstance(q, PerturbAndMAP):  # whose noise, and masks, would be lost
            raise TypeError(f"these scores are perturbed already: take {type(self.gradient).__name__} by itself")
        if not (hasattr(q, "scores") and hasattr(q, "solver")):
            raise TypeError(f"expected a law with scores and a solver, such as KSubset, got {type(q).__name__}")
        return self.gradient.rsample(PerturbAndMAP(q.scores, q.solver, self.noise, self.temperature), sample_shape)
