"""The best sequence of states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.refusal import check_listable, check_scores, refuse


@dataclass(frozen=True)
class Chain(Solver):
    """Indicator of the transitions of the best sequence ``s_0, ..., s_T`` of S states, by Viterbi's algorithm.

    ``z[t, i, j] = 1`` if ``s_t = i`` and ``s_{t+1} = j``, and ``argmax <z, scores>`` runs over all S^(T + 1) sequences.
    An instance is of shape ``(T, S, S)``: the score of every transition at every step; scores of single states are
    added to those of the transitions into them. All instances at once, O(S^2) a step. Of equal scores the lowest state
    wins, from the last step backwards.

    Raises:
        ValueError: if a score is NaN, or the shape is another. Where Python cannot look, as in compiled code, its
            answer is NaN.

    References:
        Viterbi, *Error bounds for convolutional codes*, IEEE Transactions on Information Theory 1967.

    Example:
        >>> import torch
        >>> Chain()(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))  # from state 0 to state 1
        tensor([[[0., 1.],
                 [0., 0.]]])
    """

    event_dim = 3

    def __call__(self, scores: Tensor, **unknown: Any) -> Tensor:
        """Solve every instance; see the class."""
        check_scores(self, scores, 3, unknown)
        if scores.shape[-1] != scores.shape[-2] or 0 in scores.shape[-3:]:
            raise ValueError(f"expected scores of shape (*batch, T, S, S), got {tuple(scores.shape)}")
        scores = scores.detach()
        z = _viterbi(scores.float() if scores.dtype.itemsize < 4 else scores)
        return refuse(z.to(scores.dtype), scores.isnan().flatten(-3).any(-1), "a score is NaN")

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All S^(T + 1) sequences, in the order of counting."""
        steps, s, _ = event_shape
        check_listable(self, s ** (steps + 1))
        sequences = torch.cartesian_prod(*[torch.arange(s)] * (steps + 1)).reshape(-1, steps + 1)
        one_hot = torch.nn.functional.one_hot(sequences, s).float()  # (M, T + 1, S)
        return one_hot[:, :-1].unsqueeze(-1) * one_hot[:, 1:].unsqueeze(-2)


def _viterbi(scores: Tensor) -> Tensor:
    """``(*batch, T, S, S)`` of zeros and ones."""
    best, before = torch.zeros_like(scores[..., 0, :, 0]), []
    for step in scores.unbind(-3):
        best, previous = (best.unsqueeze(-1) + step).max(-2)
        before.append(previous)
    states = [best.argmax(-1, keepdim=True)]
    for previous in reversed(before):
        states.append(previous.gather(-1, states[-1]))
    sequence = torch.cat(states[::-1], -1).unsqueeze(-1) == torch.arange(scores.shape[-1], device=scores.device)
    return (sequence[..., :-1, :].unsqueeze(-1) & sequence[..., 1:, :].unsqueeze(-2)).to(scores.dtype)
