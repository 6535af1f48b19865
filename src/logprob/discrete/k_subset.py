"""The exact law of subsets of k items."""

from __future__ import annotations

from math import ceil, log, log2, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions.utils import lazy_property

from logprob.discrete.counts import CountTree
from logprob.discrete.solvers.refusal import refuse
from logprob.discrete.solvers.top_k import TopK
from logprob.discrete.structured_law import StructuredLaw


class KSubset(StructuredLaw):
    """Subsets of k of n items: ``p(z) = exp(<z, scores> - A)`` for z in {0, 1}^n with ``sum_i z_i = k``.

    Also known as the conditional Bernoulli or conditional Poisson law: n independent Bernoulli variables of odds
    ``exp scores_i``, given that k of them are 1. With k = 1 it is the categorical law of one-hot vectors. It is not
    the law of weighted draws without replacement (Plackett-Luce), which the k largest of Gumbel-perturbed scores have.

    Items of score +inf are in every subset, items of -inf in none. For k = 0 and k = n one subset is left.

    All odds are multiplied by one number, on which the law does not depend, such that k ones are expected. Then the law
    of the number of ones, a product of polynomials in a tree of depth log n, needs no logarithms: the probability of k
    is never small. All derivatives of A and of the marginals are finite whatever the scores. Half precisions are
    computed in float32.

    Args:
        scores: shape ``(*batch, n)``, n >= 1.
        k: number of ones, 0 <= k <= n.

    Raises:
        ValueError: if k is out of its range, when the law is first used if more than k items are fixed in, fewer
            than k are left, or a score is NaN. Where an error would need the host (compiled code, ``torch.func``, a
            GPU) results are NaN instead.

    References:
        Chen, Dempster and Liu, "Weighted Finite Population Sampling to Maximize Entropy", Biometrika 1994; Ahmed, Zeng,
        Niepert and Van den Broeck, "SIMPLE: A Gradient Estimator for k-Subset Sampling", ICLR 2023.

    Example:
        >>> import torch
        >>> q = KSubset(torch.tensor([0.0, 0.0, 1.0, torch.inf]), k=2)
        >>> q.marginals
        tensor([0.2119, 0.2119, 0.5761, 1.0000])
        >>> q.log_prob(torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0]])).exp()
        tensor([0.5761, 0.0000])
        >>> q.sample((2, 3)).sum(-1)
        tensor([[2., 2., 2.],
                [2., 2., 2.]])
    """

    def __init__(self, scores: Tensor, k: int) -> None:
        super().__init__(scores, 1)
        if not 0 <= k <= self.event_shape[0] or not self.event_shape[0]:
            raise ValueError(f"expected 0 <= k <= n and n >= 1, got k = {k} and n = {self.event_shape[0]}")
        self.k = k

    @property
    def solver(self) -> TopK:
        """The k largest scores."""
        return TopK(self.k)

    def with_scores(self, scores: Tensor) -> KSubset:
        """Subsets of the same size at other scores."""
        return KSubset(scores, self.k)

    def contains(self, value: Tensor) -> Tensor:
        """Whether all entries are 0 or 1, and k are 1."""
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == self.k)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Exact samples, from the root of the tree of counts to its leaves; no gradient."""
        with torch.no_grad():
            return self._known(self._tree.sample(torch.Size(sample_shape)).movedim(0, -1).to(self.scores.dtype))

    def _cross_entropy(self, marginals: Tensor) -> Tensor:
        """``A - <marginals, scores>`` in terms none of which is large."""
        x = self._log_odds
        at = x.detach()  # `_scale` is a constant, so the part of x in it is one too
        terms = (
            F.softplus(-at.abs()) + torch.where(at > 0, at * (1 - marginals), -at * marginals) - marginals * (x - at)
        )
        return self._log_weight + terms.masked_fill(self._fixed, 0.0).sum(-1)

    @lazy_property
    def _fixed(self) -> Tensor:
        """Which items are always in or always out."""
        return self.scores.isinf()

    @lazy_property
    def _multiplier(self) -> Tensor:
        """Logarithm of what all odds are multiplied by; without gradient, shape ``(*batch, 1)``."""
        scores = self.scores.detach()
        return _multiplier(_wide(scores), self.k)

    @lazy_property
    def _log_odds(self) -> Tensor:
        """Of the Bernoulli variables; 0 where an item is fixed."""
        return _wide(self.scores.masked_fill(self._fixed, 0.0)) + self._multiplier.masked_fill(self._fixed, 0.0)

    @lazy_property
    def _scale(self) -> Tensor:
        """What a leaf's log-weights are divided by: ``log(1 + odds)``, as a constant, since every constant will do."""
        return F.softplus(self._log_odds.detach()).masked_fill(self._fixed, 0.0)

    @lazy_property
    def _yes(self) -> Tensor:
        """Weight of an item that is in: in value a probability, as a function proportional to its odds."""
        yes = (self._log_odds - self._scale).exp()
        return torch.where(self._fixed, (self.scores > 0).to(yes), yes)

    @lazy_property
    def _tree(self) -> CountTree:
        no = torch.where(self._fixed, (self.scores < 0).to(self._scale), (-self._scale).exp())
        return CountTree(no.movedim(-1, 0), self._yes.movedim(-1, 0), self.k)

    @lazy_property
    def _log_weight(self) -> Tensor:
        """Log-probability that k of the Bernoulli variables are 1, up to the constants of `_scale`."""
        return self._tree.weight.log()

    @lazy_property
    def _wide_log_partition(self) -> Tensor:
        free = self.k - (self.scores == torch.inf).sum(-1)
        return self._log_weight + self._scale.sum(-1) - free * self._multiplier.squeeze(-1)

    @lazy_property
    def _wide_marginals(self) -> Tensor:
        return self._yes * self._tree.weight_of_others().movedim(0, -1) / self._tree.weight.unsqueeze(-1)


def _wide(scores: Tensor) -> Tensor:
    """In float32 at least."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _multiplier(scores: Tensor, k: int) -> Tensor:
    """About the c for which ``sum_i sigmoid(scores_i + c) = k``, shape ``(*batch, 1)``.

    Let a be the k-th largest score and b the next one. With ``L = log 2n`` the sum is at least k - 1/2 at ``L - a``,
    and at most k + 1/2 at ``-L - b``. If the latter is larger, c is between them; if not, it is found between them by
    bisection to 1 / sqrt(n), where the sum is off by at most half its standard deviation, itself at most sqrt(n) / 2.
    """
    n = scores.shape[-1]
    ends = F.pad(F.pad(scores, (1, 0), value=torch.inf), (0, 1), value=-torch.inf)
    sorted_ends = ends.topk(k + 2).values
    a, b = sorted_ends[..., k : k + 1], sorted_ends[..., k + 1 :]
    wrong = (a == -torch.inf) | (b == torch.inf) | sorted_ends[..., :1].isnan()
    b = refuse(b, wrong.squeeze(-1), f"expected numbers, at most k = {k} of them +inf, at most n - k = {n - k} -inf")
    reach = log(2 * n)
    low, high = -reach - b, reach - a
    low = torch.where(b == -torch.inf, high, low)
    high = torch.where(a == torch.inf, low, high)
    low, high = (end.masked_fill(end.isinf(), 0.0) for end in (low, high))  # everything is fixed
    c, step = (low + high) / 2, ((high - low) / 2).clamp(min=0)
    for _ in range(ceil(log2(reach * sqrt(n)))):
        step = step / 2
        c = c + step * (k - (scores + c).sigmoid().sum(-1, keepdim=True)).sign()
    return c
