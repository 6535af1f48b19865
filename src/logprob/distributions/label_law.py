"""The labels of noise: how they are drawn, and by how much that differs from the labels of data."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

LabelRule = Literal["frequencies", "uniform"]


class LabelLaw:
    """Labels for rows of noise, drawn as often as they occur, or all as often.

    Args:
        labels: of the rows of data, ``(N,)``, in 0 ... K - 1.
        conditions: K, or None for the largest label plus one.
        rule: ``"frequencies"`` or ``"uniform"``.

    Raises:
        ValueError: for another rule, for labels that are not integers in one row, or, where K matters, labels that are
            not in 0 ... K - 1.

    Example:
        >>> law = LabelLaw(torch.tensor([0, 0, 0, 1]), 2, "uniform")
        >>> law.log_odds(torch.tensor([0, 1])).exp()  # three quarters and a quarter, over a half
        tensor([1.5000, 0.5000])
    """

    def __init__(self, labels: Tensor, conditions: int | None = None, rule: LabelRule = "frequencies") -> None:
        check_rule(rule)
        if labels.dim() != 1 or labels.is_floating_point() or not len(labels):
            raise ValueError(f"expected integer labels of shape (N,), got {labels.dtype} {tuple(labels.shape)}")
        self.labels, self.rule = labels, rule
        self._conditions = conditions

    @cached_property
    def log_probs(self) -> Tensor:
        """Log-frequencies of the labels of data, ``(K,)``; minus infinity for one that does not occur."""
        least, most = int(self.labels.min()), int(self.labels.max())
        conditions = most + 1 if self._conditions is None else self._conditions
        if least < 0 or most >= conditions:
            raise ValueError(f"labels must be from 0 to {conditions - 1}, got {least} to {most}")
        counts = torch.bincount(self.labels, minlength=conditions)
        return (counts.to(torch.get_default_dtype()) / len(self.labels)).log()

    @property
    def conditions(self) -> int:
        """Number K of labels."""
        return len(self.log_probs) if self._conditions is None else self._conditions

    def draw(self, rows: int) -> Tensor:
        """Labels of rows of noise, ``(rows,)``."""
        if self.rule == "frequencies":
            return self.draw_as_data(rows)
        return torch.randint(self.conditions, (rows,), device=self.labels.device)

    def draw_as_data(self, rows: int) -> Tensor:
        """Labels by their frequencies, whatever the rule, ``(rows,)``."""
        return self.labels[torch.randint(len(self.labels), (rows,), device=self.labels.device)]

    def log_odds(self, labels: Tensor) -> Tensor:
        """``log p(y)`` of data less that of noise: what the log-ratio of x given y lacks to be that of both."""
        if self.rule == "frequencies":
            return torch.zeros_like(labels, dtype=torch.get_default_dtype())
        return self.log_probs[labels] + math.log(self.conditions)


def check_rule(rule: str) -> None:
    """Raise ValueError unless there is such a rule."""
    if rule not in ("frequencies", "uniform"):
        raise ValueError(f"labels of noise must be drawn by 'frequencies' or 'uniform', got {rule!r}")
