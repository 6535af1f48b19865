"""Time-contrastive learning: a classifier of conditions whose last features are the sources."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from logprob.energy.labels import check_labels
from logprob.nn.stacked import StackedLinear, StackedMaxout


class TCL(nn.Module):
    """A maxout network, absolute values, and a softmax over conditions on top: ``p(y | x)``.

    ``f(x) = |W_L h_L-1(x) + b_L|`` after L - 1 maxout layers; ``log p(y | x) = log_softmax_y(A f(x) + a)``. Trained to
    tell the conditions apart, f comes to hold the statistics that they modulate, up to a linear map; independent
    component analysis of f finds that map. Weights start from a normal law of variance ``1.3 * 2 / fan_in``, cut at two
    standard deviations, biases at zero.

    Args:
        features: number D of variables of a row.
        conditions: number K of conditions.
        layers: number L of linear layers of f.
        hidden: width of the maxout layers; ``2 D`` if omitted.
        latents: number of features f; D if omitted.
        weight_decay: factor of ``sum ||W||^2 / 2`` over all weights, not biases, in :meth:`loss`.
        copies: number C of models side by side, or None for no leading axis.

    Shapes: rows ``(N, D)`` for all copies alike, or ``(C, N, D)``; features ``(C, N, latents)``; logits ``(C, N, K)``.

    Raises:
        ValueError: for a number below one, or a negative ``weight_decay``; when called, for labels that are no integers
            from 0 to K - 1.

    References:
        Hyvarinen and Morioka, "Unsupervised Feature Extraction by Time-Contrastive Learning and Nonlinear ICA",
        NeurIPS 2016.

    Example:
        >>> model = TCL(5, conditions=20, layers=2, copies=8)
        >>> x, y = torch.randn(6, 5), torch.arange(6)
        >>> model.features(x).shape, model.log_prob(x, y).shape
        (torch.Size([8, 6, 5]), torch.Size([8, 6]))
    """

    def __init__(
        self,
        features: int,
        conditions: int,
        layers: int = 2,
        hidden: int | None = None,
        latents: int | None = None,
        weight_decay: float = 1e-4,
        copies: int | None = None,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        if weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {weight_decay}")
        self.conditions, self.weight_decay, self.copies = conditions, weight_decay, copies
        width = 2 * features if hidden is None else hidden
        latents = features if latents is None else latents
        widths = [features, *[width] * (layers - 1)]
        maxout = [StackedMaxout(before, after, copies) for before, after in pairwise(widths)]
        self.network = nn.Sequential(*maxout, StackedLinear(widths[-1], latents, copies))
        self.head = StackedLinear(latents, conditions, copies)
        self.apply(_start)

    def features(self, x: Tensor) -> Tensor:
        """``f(x)``, not negative, ``(*copies, N, latents)``."""
        raw: Tensor = self.network(x)
        return raw.abs()

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the conditions, ``(*copies, N, K)``."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """``log p(y | x)`` of labels ``(N,)``, in nats, ``(*copies, N)``."""
        return picked_log_probs(self(x), check_labels(y, self.conditions))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross entropy in nats plus the weights' penalty, one number a copy."""
        return self.weight_decay * self.penalty() - self.log_prob(x, y).mean(-1)

    def penalty(self) -> Tensor:
        """``sum ||W||^2 / 2`` over the weights of each copy."""
        squares = [layer.weight.square().sum((-2, -1)) for layer in self._linear()]
        return torch.stack(squares).sum(0) / 2

    def weights(self) -> list[nn.Parameter]:
        """What :meth:`penalty` is taken over, for an optimizer that decays weights itself."""
        return [layer.weight for layer in self._linear()]

    def biases(self) -> list[nn.Parameter]:
        """The other parameters."""
        return [layer.bias for layer in self._linear() if layer.bias is not None]

    def _linear(self) -> list[StackedLinear]:
        return [part for part in self.modules() if isinstance(part, StackedLinear)]


def picked_log_probs(logits: Tensor, y: Tensor) -> Tensor:
    """Log-softmax at the labels: logits ``(*copies, N, K)`` and labels ``(N,)`` to ``(*copies, N)``."""
    labels = y.expand(logits.shape[:-1]).flatten()
    loss = functional.cross_entropy(logits.flatten(0, -2), labels, reduction="none")
    return -loss.view(logits.shape[:-1])


def _start(layer: nn.Module) -> None:
    if isinstance(layer, StackedLinear):
        deviation = math.sqrt(1.3 * 2 / layer.inputs)
        nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
