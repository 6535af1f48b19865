"""What the flow of flow-contrastive estimation descends: the energy's success, by samples that lead back to it."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions.contrast import contrastive_loss
from logprob.distributions.label_law import LabelLaw
from logprob.distributions.noise_rows import ContrastRows, Noise

FlowRule = Literal["samples", "detached"]


def flow_value(of_data: Tensor, of_noise: Tensor, ratio: float, rule: FlowRule) -> Tensor:
    """The flow's side of the contrast, a mean over the copies of the energy, which share the flow.

    Args:
        of_data: log-ratios of rows of data, ``(*copies, N)``.
        of_noise: log-ratios of the flow's samples, ``(*copies, M)``.
        ratio: nu.
        rule: ``"samples"``: the value of the game, ``mean_data log sigmoid(l) + nu mean_noise log sigmoid(-l)``;
            ``"detached"``: the cross-entropy of the negated logits.

    Returns:
        A scalar, in nats.
    """
    if rule == "samples":
        return -(1 + ratio) * contrastive_loss(of_data, of_noise, ratio).mean()
    shift = math.log(ratio)
    return (F.softplus(of_data - shift).mean(-1) + ratio * F.softplus(shift - of_noise).mean(-1)).mean()


def rows_with_gradient(
    noise: Noise, law: LabelLaw | None, batch: Batch, ratio: int, rule: FlowRule
) -> tuple[ContrastRows, ContrastRows]:
    """Rows of data and of noise whose log-densities lead back to the flow, and so do samples by the rule of that name.

    Args:
        noise: the flow; its distribution has ``rsample``.
        law: of the labels, or None if there are none.
        batch: rows of data.
        ratio: rows of noise for a row of data.
        rule: see :func:`flow_value`.
    """
    rows = len(batch.x)
    labels = None if law is None else law.draw(ratio * rows)
    given = labels if noise.given_labels else None
    flow = noise.distribution(given)
    x = flow.rsample(torch.Size() if given is not None else (ratio * rows,))
    both = torch.cat([batch.x, x if rule == "samples" else x.detach()])
    if given is not None and batch.context is not None:
        flow = noise.distribution(torch.cat([batch.context, given]))
    log_q = flow.log_prob(both)
    return ContrastRows(batch.x, batch.context, log_q[:rows]), ContrastRows(both[rows:], labels, log_q[rows:])
