"""How far the structures that a model draws are from the one that is right."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from logprob.batch import Batch
from logprob.discrete.fenchel_young import FenchelYoung
from logprob.gradients import GradientEstimator, PathwiseGradient
from logprob.objectives.base import Loss

Distance = Literal["hamming", "squared"]


class StructuredLoss(nn.Module):
    """``mean_b E d(z, x_b)``, where z is drawn from the model's law given ``context_b``.

    On binary structures both distances count the places that differ. They have different gradients in z, ``1 - 2 x``
    and ``2 (z - x)``, and differ between 0 and 1.

    Args:
        gradient: of the expectation: how structures get a gradient.
        samples: S.
        distance: ``"hamming"``: ``sum_i z_i (1 - x_i) + (1 - z_i) x_i``; ``"squared"``: ``sum_i (z_i - x_i)^2``.

    Raises:
        ValueError: if ``samples`` is below 1 or the distance unknown; when called, if the rows have another width than
            the model's structures.

    References:
        Vlastelica, Paulus, Musil, Martius and Rolinek, "Differentiation of Blackbox Combinatorial Solvers", ICLR 2020.

    Example:
        >>> import torch
        >>> from logprob.discrete.implicit import IMLE
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> from logprob.discrete.structured_model import StructuredModel
        >>> from logprob.nn import MLP
        >>> model = StructuredModel(4, lambda outputs: MLP(3, outputs), TopK(2))
        >>> batch = Batch(torch.tensor([[1.0, 1.0, 0.0, 0.0]]), context=torch.zeros(1, 3))
        >>> StructuredLoss(IMLE())(model, batch).value.item() in (0, 2, 4)
        True
    """

    def __init__(self, gradient: GradientEstimator, samples: int = 1, distance: Distance = "hamming") -> None:
        super().__init__()
        if samples < 1 or distance not in DISTANCES:
            raise ValueError(f"expected samples from 1 and hamming or squared, got {samples} and {distance!r}")
        self.gradient, self.samples, self.distance = gradient, samples, distance

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss, a number of places; its metric ``distance`` is the same."""
        q = model(batch.context)
        x = rows_of(batch, q)
        between = DISTANCES[self.distance]
        value = self.gradient(q, lambda z: between(z, x).sum(-1), (self.samples,)).mean()
        return Loss(value, {"distance": value.detach()})


class MarginalLoss(nn.Module):
    """``mean_b mean_i (m_i - x_i)^2``, where m is the mean of S structures drawn given ``context_b``.

    The mean stands inside of the square, so that a law that is rightly unsure is not punished for its variance.

    Args:
        gradient: how structures get a gradient: one that is a differentiable sample.
        samples: S.

    Raises:
        ValueError: if ``samples`` is below 1; when called, if the rows have another width than the model's structures.
    """

    def __init__(self, gradient: PathwiseGradient, samples: int = 10) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        self.gradient, self.samples = gradient, samples

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss; its metric ``distance`` is the same."""
        q = model(batch.context)
        x = rows_of(batch, q)
        mean = self.gradient.rsample(q, (self.samples,)).mean(0)
        value = (mean - x).square().mean()
        return Loss(value, {"distance": value.detach()})


class FenchelYoungLoss(nn.Module):
    """``mean_b [E max_z <z, scores_b + noise> - <x_b, scores_b>]``, convex in the scores.

    It is for models of perturbed scores; the expectation is over S samples. Its gradient in the scores is the mean of
    the structures drawn less the one that is right: one call of the solver, and no distance to differentiate.

    Args:
        samples: S.
        value: ``"residual"`` reports the squared norm of the gradient, as several ports do, with the same gradient.

    Raises:
        ValueError: if ``samples`` is below 1 or the value unknown; when called, if the rows have another width than
            the model's structures.

    References:
        Berthet et al., "Learning with Differentiable Perturbed Optimizers", NeurIPS 2020.
    """

    def __init__(self, samples: int = 1, value: Literal["loss", "residual"] = "loss") -> None:
        super().__init__()
        self.loss = FenchelYoung(samples, value)

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss."""
        q = model(batch.context)
        return Loss(self.loss(q, rows_of(batch, q)).mean())


def rows_of(batch: Batch, q: Any) -> Tensor:
    """The rows of a batch.

    Raises:
        ValueError: unless they are values of the law ``q``.
    """
    expected = q.batch_shape + q.event_shape
    if batch.x.shape != expected:
        raise ValueError(f"expected rows {tuple(expected)}, as the model's structures, got {tuple(batch.x.shape)}")
    return batch.x


def _hamming(z: Tensor, x: Tensor) -> Tensor:
    return z * (1 - x) + (1 - z) * x


def _squared(z: Tensor, x: Tensor) -> Tensor:
    return (z - x).square()


DISTANCES = {"hamming": _hamming, "squared": _squared}
