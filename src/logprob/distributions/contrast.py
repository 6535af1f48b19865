"""Numbers of a contrast of data with noise: its loss, and how often it tells one from the other."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(
    data: Tensor, noise: Tensor, ratio: float = 1.0, weights: Literal["ratio", "rows"] = "ratio"
) -> Tensor:
    """Cross-entropy of telling data from noise, ``nu`` rows of noise to a row of data.

    With the log-ratios ``r = log p(x) - log q(x)`` of a model and the noise, the logits are ``l = r - log nu``, and::

        [mean_data softplus(-l) + nu mean_noise softplus(l)] / (1 + nu)

    That is the mean of all cross-entropies where there are nu times as many rows of noise, and stays right where there
    are other numbers of them. It is least where the model is the law of the data, normaliser included.

    Args:
        data: log-ratios of rows of data, ``(*copies, N)``, in nats.
        noise: log-ratios of rows of noise, ``(*copies, M)``.
        ratio: nu, > 0.
        weights: ``"ratio"`` as above; ``"rows"`` the mean over all N + M rows, whatever their numbers.

    Returns:
        In nats, ``(*copies,)``; the sum is what trains all copies.

    References:
        Gutmann and Hyvarinen, "Noise-contrastive estimation", AISTATS 2010 and JMLR 2012.

    Example:
        >>> contrastive_loss(torch.zeros(4), torch.zeros(4)).item()  # log 2: knows nothing
        0.693...
    """
    shift = math.log(ratio)
    of_data, of_noise = F.softplus(shift - data), F.softplus(noise - shift)
    if weights == "rows":
        return (of_data.sum(-1) + of_noise.sum(-1)) / (data.shape[-1] + noise.shape[-1])
    return torch.add(of_data.mean(-1), of_noise.mean(-1), alpha=ratio) / (1 + ratio)


def balanced_accuracy(data: Tensor, noise: Tensor) -> Tensor:
    """Mean of the shares of data with a positive and of noise with a negative log-ratio; one of zero is half right.

    Both classes count the same, so that the accuracy does not depend on how much noise there is. It is 1/2 at chance.

    Args:
        data: log-ratios of rows of data, ``(*copies, N)``, without ``-log nu``.
        noise: log-ratios of rows of noise, ``(*copies, M)``.

    Returns:
        ``(*copies,)``, between 0 and 1.

    Note:
        Where rows have labels and the labels of noise are drawn apart from it, knowing the label helps: even for
        ``q(x) = p(x)`` the best accuracy is above 1/2. For the accuracy that says how good the noise is, give
        :func:`marginal_log_ratio`.

    Example:
        >>> balanced_accuracy(torch.tensor([1.0, 0.0]), torch.tensor([-1.0, -2.0, 1.0])).item()
        0.708...
    """
    # A sign is 1 for right, -1 for wrong and 0 for undecided, of which half is right.
    return (data.sign().mean(-1) - noise.sign().mean(-1)) / 4 + 0.5


def marginal_log_ratio(log_potentials: Tensor, log_q: Tensor, label_log_probs: Tensor) -> Tensor:
    """``log p(x) - log q(x)`` with the label summed out: ``logsumexp_y [u(x, y) + log p(y)] - log q(x)``.

    Args:
        log_potentials: ``u(x, y)`` for every label, log-normaliser included, ``(*copies, N, K)``, in nats.
        log_q: ``(N,)``; zero if the potentials are relative to the noise already.
        label_log_probs: ``log p(y)``, ``(K,)``.

    Returns:
        In nats, ``(*copies, N)``.

    Example:
        >>> marginal_log_ratio(torch.zeros(3, 2), torch.zeros(3), torch.tensor([0.5, 0.5]).log())
        tensor([0., 0., 0.])
    """
    return torch.logsumexp(log_potentials + label_log_probs, -1) - log_q
