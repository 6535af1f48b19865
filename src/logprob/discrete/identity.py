"""Straight through the solver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from logprob.discrete.attach import attach
from logprob.discrete.perturb_and_map import check_perturbed
from logprob.discrete.reduction import Reduction, factors
from logprob.gradients import PathwiseGradient


class StraightThroughIdentity(PathwiseGradient):
    """The gradient of a sample is taken for that of its scores, with its sign turned if the solver minimises.

    Costs one solve a sample. Biased, for linear functions too.

    Args:
        project: take the mean over the event off the gradient: a constant in the scores does not change the answer
            where all have the same number of ones.
        reduction: how the loss is made of the samples, see :class:`IMLE`; only ``"paper"`` differs, by 1 / S.

    References:
        Bengio, Léonard and Courville, arXiv 1308.3432, 2013; Sahoo, Paulus, Vlastelica, Musil, Kuleshov and Martius,
        "Backpropagation through Combinatorial Algorithms: Identity with Projection Works", ICLR 2023.

    Example:
        >>> from logprob.discrete.perturb_and_map import PerturbAndMAP
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> scores = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
        >>> z = PerturbAndMAP(scores, TopK(1), gradient=StraightThroughIdentity(project=True)).rsample()
        >>> (z @ torch.tensor([0.0, 0.0, 3.0])).backward()
        >>> scores.grad
        tensor([-1., -1.,  2.])
    """

    def __init__(self, project: bool = False, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.project, self.reduction = project, reduction

    def rsample(self, q: Any, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Samples of a :class:`PerturbAndMAP`, ``sample_shape + batch_shape + event_shape``.

        Raises:
            TypeError: if q is another law.
        """
        check_perturbed(q, self)
        points = q.perturb(q.draw_noise(sample_shape))
        with torch.no_grad():
            z = q.solve(points)
        before, after = factors(self.reduction, torch.Size(sample_shape).numel())
        factor = before * after * (1 if q.solver.maximize else -1)
        return attach(points, z, q.scores.dtype, _Identity(factor, q.solver.event_dim, self.project, points.dtype))


@dataclass(frozen=True)
class _Identity:
    wants_points: ClassVar[bool] = False

    factor: float
    event_dim: int
    project: bool
    dtype: torch.dtype

    def __call__(self, dy: Tensor, points: Any, **_: Tensor) -> Tensor:
        gradient = self.factor * dy.to(self.dtype)
        if self.project:
            gradient = gradient - gradient.mean(tuple(range(-self.event_dim, 0)), keepdim=True)
        return gradient
