"""An upper bound of a divergence, where the divergence itself is intractable."""

from __future__ import annotations

from functools import singledispatch

from torch import Tensor
from torch.distributions import Distribution, kl_divergence


@singledispatch
def kl_bound(q: Distribution, p: Distribution) -> Tensor:
    """A number that ``KL(q || p)`` is at most, in nats, ``batch_shape``: the divergence itself where it is known.

    Laws that know only a bound register it under the type of q. An evidence lower bound with it in the place of the
    divergence is a lower bound still.

    Raises:
        NotImplementedError: if there is neither a closed form nor a bound.

    Example:
        >>> import torch
        >>> from torch.distributions import Normal
        >>> kl_bound(Normal(torch.ones(2), 1.0), Normal(0.0, 1.0))
        tensor([0.5000, 0.5000])
    """
    return kl_divergence(q, p)
