"""Log-ratio of two densities at a sample, the one-sample estimate of their divergence."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Normal


def log_ratio(q: Distribution, p: Distribution, value: Tensor, *, stick_the_landing: bool = False) -> Tensor:
    """``log q(value) - log p(value)`` in nats, ``sample_shape + batch_shape``; its mean over ``q`` is ``KL(q || p)``.

    A distribution that has a ``log_ratio`` of its own forms it without what cancels.

    Args:
        q: distribution that ``value`` was drawn from.
        p: the other one.
        value: samples.
        stick_the_landing: let no gradient reach the parameters of ``q`` but through ``value``, which leaves out a
            term of mean zero.

    Raises:
        NotImplementedError: if the landing is to be stuck and the distribution does not know how.

    References:
        Roeder, Wu and Duvenaud, "Sticking the Landing", NeurIPS 2017.

    Example:
        >>> import torch
        >>> log_ratio(Normal(0.0, 1.0), Normal(0.0, 2.0), torch.zeros(2))
        tensor([0.6931, 0.6931])
    """
    own: Any = getattr(q, "log_ratio", None)
    if own is not None:
        ratio: Tensor = own(p, value, stick_the_landing)
        return ratio
    return (_constant(q) if stick_the_landing else q).log_prob(value) - p.log_prob(value)


def _constant(q: Distribution) -> Distribution:
    """``q`` with parameters that take no gradient."""
    if isinstance(q, Normal):
        return Normal(q.loc.detach(), q.scale.detach(), validate_args=False)
    raise NotImplementedError(f"{type(q).__name__} has no log_ratio that sticks the landing")
