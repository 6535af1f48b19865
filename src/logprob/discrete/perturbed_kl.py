"""How far the law of perturbed scores is from another: a bound, as the law itself has no closed form."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from logprob.discrete.noise import Gumbel
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.flattened import Flattened
from logprob.discrete.solvers.spanning_tree import SpanningTree
from logprob.discrete.solvers.top_k import TopK
from logprob.distributions import IntractableError
from logprob.distributions.kl_bound import kl_bound

ALL_OF_ONE_SIZE = (TopK, SpanningTree)  # a number added to all scores changes no answer


def gumbel_divergence(difference: Tensor) -> Tensor:
    """``sum_i d_i + exp(-d_i) - 1``: KL of Gumbel variables of scale 1 at ``d`` from those at 0, in nats.

    Args:
        difference: d, ``(..., n)``.

    Returns:
        Shape ``(...)``.
    """
    return (difference + (-difference).exp() - 1).sum(-1)


def shifted_gumbel_divergence(difference: Tensor) -> Tensor:
    """The least :func:`gumbel_divergence` of ``d + c`` over all c, ``sum_i d_i - n log n + n logsumexp(-d)``.

    At least 0, and 0 only if all ``d_i`` are equal.

    Args:
        difference: d, ``(..., n)``.

    Returns:
        Shape ``(...)``.

    Example:
        >>> import torch
        >>> shifted_gumbel_divergence(torch.tensor([[5.0, 5.0, 5.0], [0.0, 1.0, 2.0]]))
        tensor([0.0000, 0.9270])
    """
    n = difference.shape[-1]
    return difference.sum(-1) + n * ((-difference).logsumexp(-1) - math.log(n))


@kl_bound.register
def perturbed_kl_bound(q: PerturbAndMAP, p: Any) -> Tensor:
    """A bound of ``KL(q || p)`` of two laws of perturbed scores with one solver and Gumbel noise, in nats.

    A solver can only lose information, so the structures are no further apart than the perturbed scores, whose
    divergence is known. If every structure has as many ones as any other (subsets of one size, spanning trees), adding
    a number to all scores changes nothing, and the bound is that of the best such number. It does not know of k and is
    loose: where the exact law will do, take that.

    Raises:
        IntractableError: if the noise is not Gumbel noise, or p is no law of the same solver.
    """
    if not (isinstance(p, PerturbAndMAP) and q.solver == p.solver):
        raise IntractableError(f"a bound is known from a law of perturbed scores with {q.solver}, got {p}")
    for law in (q, p):
        if not isinstance(law.noise, Gumbel):
            raise IntractableError(
                f"the divergence of perturbed scores is known with Gumbel noise, got {law.noise}; take Gumbel(), or an "
                "exact law such as KSubset"
            )
    events = len(q.event_shape)
    difference = q.scores / q.temperature - p.scores / p.temperature
    solver = q.solver.solver if isinstance(q.solver, Flattened) else q.solver
    bound = shifted_gumbel_divergence if isinstance(solver, ALL_OF_ONE_SIZE) else gumbel_divergence
    return bound(difference.flatten(difference.dim() - events))
