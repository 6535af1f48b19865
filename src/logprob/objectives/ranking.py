"""Contrasts of a row with other labels: no noise, and no log-density of any."""

from __future__ import annotations

from torch import Tensor

from logprob.distributions.contrast import contrastive_loss


def ranking_loss(log_potentials: Tensor, labels: Tensor, label_log_probs: Tensor | float = 0.0) -> Tensor:
    """``-mean log softmax_y [u(x, y) + log p(y)]`` at the label of the row: the label is picked among all K.

    Args:
        log_potentials: ``u(x, y)``, ``(*copies, N, K)``, in nats.
        labels: ``(N,)``.
        label_log_probs: ``log p(y)``, ``(K,)``; they matter if u is to be ``log p(x | y)``.

    Returns:
        In nats, ``(*copies,)``. Terms of u that do not depend on the label cancel, so it fixes no normaliser but
        differences of those of the labels.

    References:
        Ma and Collins, "Noise Contrastive Estimation and Negative Sampling for Conditional Models", EMNLP 2018.

    Example:
        >>> import torch
        >>> ranking_loss(torch.zeros(2, 4), torch.tensor([0, 3])).exp()
        tensor(4.)
    """
    log_probs = (log_potentials + label_log_probs).log_softmax(-1)
    return -of_label(log_probs, labels).mean(-1)


def label_log_ratio(log_potentials: Tensor, label_log_probs: Tensor | float) -> Tensor:
    """``log p(x | y) - log p(x)`` of a model, ``u(x, y) - logsumexp_z [u(x, z) + log p(z)]``, ``(*copies, N, K)``."""
    return log_potentials - (log_potentials + label_log_probs).logsumexp(-1, keepdim=True)


def wrong_label_loss(log_ratios: Tensor, labels: Tensor, wrong: Tensor) -> Tensor:
    """Cross-entropy of telling the label of a row from one drawn apart from it.

    Args:
        log_ratios: for every label, ``(*copies, N, K)``: those of :func:`label_log_ratio`, or any function, which then
            learns ``log p(x | y) - log p(x)``. No noise and no log-density of it appears.
        labels: ``(N,)``.
        wrong: labels drawn by their frequencies, ``(N,)``; the right one is among them as often as it occurs.

    Returns:
        In nats, ``(*copies,)``.

    References:
        Hyvarinen, Sasaki and Turner, "Nonlinear ICA Using Auxiliary Variables and Generalized Contrastive Learning",
        AISTATS 2019.

    Example:
        >>> import torch
        >>> wrong_label_loss(torch.zeros(2, 4), torch.tensor([0, 3]), torch.tensor([1, 3])).exp()
        tensor(2.)
    """
    return contrastive_loss(of_label(log_ratios, labels), of_label(log_ratios, wrong))


def of_label(values: Tensor, labels: Tensor) -> Tensor:
    """The entries ``(*copies, N)`` of values ``(*copies, N, K)`` at labels ``(N,)``."""
    index = labels.expand(values.shape[:-1]).unsqueeze(-1)
    return values.gather(-1, index).squeeze(-1)
