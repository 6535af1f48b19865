"""Noise for a contrast: a flow that knows no labels, fitted first, and rows of it drawn once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.energy import ScaleMixtureFlow
from logprob.estimators.training import in_chunks, lowest, train_copies
from logprob.nn import take_copy

FLOW_RATE = 3e-3  # the invertible network diverges now and then at the rates that maxout networks like


class NoiseRows(NamedTuple):
    """Rows that were drawn once.

    Args:
        x: ``(M, D)``.
        log_q: their log-densities, ``(M,)``, in nats.
    """

    x: Tensor
    log_q: Tensor


def fit_noise(
    train: Batch, held_out: Batch, *, layers: int, copies: int, steps: int, batch_size: int, progress: bool
) -> tuple[ScaleMixtureFlow, list[dict[str, Any]]]:
    """Fit a label-free flow by maximum likelihood, and keep the copy with the best held-out one.

    Returns:
        The flow, on the CPU, with parameters that are not trained further, and the history.
    """
    x, other = train.x, held_out.x
    flow = ScaleMixtureFlow(x.shape[-1], layers, copies=copies).to(x.device)
    history = train_copies(
        flow.parameters(),
        lambda index: -flow().log_prob(x[index]).mean(-1),
        len(x),
        steps=steps,
        batch_size=batch_size,
        learning_rate=FLOW_RATE,
        held_out=lambda: -flow().log_prob(other).mean(-1),
        progress=progress,
        description="noise",
    )
    with torch.no_grad():
        best = lowest(-flow().log_prob(other).mean(-1))
    chosen = take_copy(flow, best).cpu().eval().requires_grad_(False)
    return chosen, [{"stage": "noise", **record} for record in history]


def draw_noise(flow: ScaleMixtureFlow, rows: int) -> NoiseRows:
    """Draw rows of the flow, and compute their log-densities."""
    x = flow().sample((rows,))
    return NoiseRows(x, in_chunks(flow().log_prob, x, dim=0))
