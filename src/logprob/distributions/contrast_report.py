"""How well a model tells rows of data from rows of noise, both held out."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from logprob.distributions.contrast import balanced_accuracy, contrastive_loss, marginal_log_ratio
from logprob.distributions.label_law import LabelLaw
from logprob.distributions.noise_rows import CHUNK, ContrastRows, evaluating


class ContrastReport(NamedTuple):
    """Numbers of a contrast, each ``(*copies,)``.

    Args:
        loss: mean cross-entropy, in nats; by it the best of several copies is chosen.
        accuracy: balanced accuracy of the log-ratio given the label. Above 1/2 even for noise of the very law of the
            rows, since the labels tell.
        marginal_accuracy: balanced accuracy with the label summed out: 1/2 for noise of the law of the rows. That of
            the log-ratio itself where there are no labels.
    """

    loss: Tensor
    accuracy: Tensor
    marginal_accuracy: Tensor


@torch.no_grad()
def contrast_report(
    energy: Any,
    data: ContrastRows,
    noise: ContrastRows,
    law: LabelLaw | None = None,
    ratio: float = 1.0,
    tilted: bool = False,
) -> ContrastReport:
    """Evaluate an energy, in evaluation mode, on rows of data and of noise.

    Args:
        energy: a module that makes unnormalised distributions; with labels, one that has ``log_potentials``.
        data: rows of data.
        noise: rows of noise; the more, the less chance there is in the numbers.
        law: of the labels, or None if there are none.
        ratio: nu, rows of noise for a row of data, as in training; the numbers of the rows given may be others.
        tilted: whether the energy is relative to the noise; log-densities are then not needed.
    """
    with evaluating(energy):
        of_data, marginal_of_data = _log_ratios(energy, data, law, tilted)
        of_noise, marginal_of_noise = _log_ratios(energy, noise, law, tilted)
    return ContrastReport(
        contrastive_loss(of_data, of_noise, ratio),
        balanced_accuracy(of_data, of_noise),
        balanced_accuracy(marginal_of_data, marginal_of_noise),
    )


def log_ratio_of(u: Tensor, rows: ContrastRows, law: LabelLaw | None, tilted: bool) -> Tensor:
    """Log-ratio of data and noise, ``(*copies, N)``, of rows whose u is known: what a logit is without ``-log nu``.

    Raises:
        ValueError: if the log-densities of the noise are missing.
    """
    if not tilted:
        if rows.log_q is None:
            raise ValueError("expected the log-density of the noise at each row, got none")
        u = u - rows.log_q
    return u if law is None or rows.labels is None or law.rule == "frequencies" else u + law.log_odds(rows.labels)


def _log_ratios(energy: Any, rows: ContrastRows, law: LabelLaw | None, tilted: bool) -> tuple[Tensor, Tensor]:
    parts = [_of_chunk(energy, rows.pick(index), law, tilted) for index in torch.arange(len(rows.x)).split(CHUNK)]
    given, marginal = zip(*parts, strict=True)
    return torch.cat(given, -1), torch.cat(marginal, -1)


def _of_chunk(energy: Any, rows: ContrastRows, law: LabelLaw | None, tilted: bool) -> tuple[Tensor, Tensor]:
    """Log-ratios given the label, and with it summed out."""
    if law is None or rows.labels is None or not hasattr(energy, "log_potentials"):
        given = log_ratio_of(energy(rows.labels).unnormalized_log_prob(rows.x), rows, law, tilted)
        return given, given
    potentials = energy.log_potentials(rows.x)
    u = potentials.gather(-1, rows.labels.expand(potentials.shape[:-1]).unsqueeze(-1)).squeeze(-1)
    log_q = torch.zeros_like(u) if tilted or rows.log_q is None else rows.log_q
    return log_ratio_of(u, rows, law, tilted), marginal_log_ratio(potentials, log_q, law.log_probs.to(u))
