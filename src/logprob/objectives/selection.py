"""Training a model that predicts from what it has selected."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from logprob.batch import Batch
from logprob.gradients import GradientEstimator
from logprob.objectives.base import Loss


class SelectionLoss(nn.Module):
    """``mean_b E (prediction(x_b, z) - target_b)^2``, where z is what the model selects of ``x_b``.

    Args:
        gradient: of the expectation: how selections get a gradient.
        samples: selections of a row.

    Raises:
        ValueError: if ``samples`` is below 1; when called, if the rows have no target, or not one number each.
        TypeError: when called, if the model does not select.

    References:
        Chen, Song, Wainwright and Jordan, "Learning to Explain", ICML 2018.

    Example:
        >>> import torch
        >>> from logprob.discrete.selective_predictor import SelectivePredictor
        >>> from logprob.discrete.straight_through import StraightThroughMarginals
        >>> model = SelectivePredictor(100, k=2)
        >>> batch = Batch(torch.randint(1, 100, (8, 6)), target=torch.rand(8))
        >>> SelectionLoss(StraightThroughMarginals())(model, batch).value.shape
        torch.Size([])
    """

    def __init__(self, gradient: GradientEstimator, samples: int = 1) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        self.gradient, self.samples = gradient, samples

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss; its metric ``squared_error`` is the same."""
        if not hasattr(model, "selection"):
            raise TypeError(f"{type(model).__name__} selects nothing; SelectionLoss is for a SelectivePredictor")
        target = target_of(batch)

        def error(z: Tensor) -> Tensor:
            prediction: Tensor = model.predict(batch.x, z)
            return (prediction - target).square()

        value = self.gradient(model.selection(batch.x), error, (self.samples,)).mean()
        return Loss(value, {"squared_error": value.detach()})


def target_of(batch: Batch) -> Tensor:
    """The targets of a batch, one number a row, ``(B,)``.

    Raises:
        ValueError: if there are none, or more.
    """
    rows = len(batch.x)
    if batch.target is None or batch.target.shape not in ((rows,), (rows, 1)):
        got = None if batch.target is None else tuple(batch.target.shape)
        raise ValueError(f"expected a target of shape ({rows},), got {got}")
    return batch.target.reshape(rows)
