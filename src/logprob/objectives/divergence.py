"""The divergence of a posterior from its prior, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from logprob.distributions import IntractableError, log_ratio
from logprob.distributions.checks import categorical_divergence, has_categories
from logprob.distributions.kl_bound import kl_bound

Divergence = Literal["closed", "sampled", "sticking-the-landing", "categorical", "bound"]
DIVERGENCES: tuple[str, ...] = get_args(Divergence)
SAMPLED = ("sampled", "sticking-the-landing")


def divergence(how: Divergence, q: Distribution, p: Distribution, z: Tensor | None = None) -> Tensor:
    """``KL(q || p)`` in nats of a group of variables, summed over them.

    Args:
        how: ``"closed"``: exact, where ``q`` and ``p`` have a closed form; ``"sampled"``: ``log q(z) - log p(z)``;
            ``"sticking-the-landing"``: the same, its gradient by way of ``z`` alone; ``"categorical"``: exact, of the
            laws of the categories, for relaxations whose category probabilities are known. It is not the divergence of
            the relaxed laws; where continuous variables have no categories, it is the closed one; ``"bound"``: what the
            divergence is at most, the closed one where there is one.
        q: posterior, batch shape ``(B, V)``.
        p: prior, batch shape ``(V,)``.
        z: samples of ``q``, ``(S, B, V, *event)``, where they are needed.

    Returns:
        Shape ``(B,)``; of the sampled ones ``(S, B)``.

    Raises:
        NotImplementedError: if there is no closed form; the message says what to use instead.

    Example:
        >>> import torch
        >>> from torch.distributions import Normal
        >>> divergence("closed", Normal(torch.ones(4, 2), 1.0), Normal(torch.zeros(2), 1.0))
        tensor([1., 1., 1., 1.])
    """
    if how in SAMPLED:
        assert z is not None, "a sampled divergence needs samples"
        return log_ratio(q, p, z, stick_the_landing=how == "sticking-the-landing").sum(-1)
    if how == "categorical" and has_categories(q):
        return categorical_divergence(q, p).sum(-1)
    try:
        return (kl_bound if how == "bound" else kl_divergence)(q, p).sum(-1)
    except NotImplementedError as error:
        raise IntractableError(
            f"kl {how!r} is not there for {type(q).__name__}; take 'sampled', or 'categorical' where the "
            f"probabilities of the categories are known, or 'bound' where a bound is ({error})"
        ) from None


def each_divergence(how: Divergence | Sequence[Divergence], groups: int) -> list[Divergence]:
    """One name a group.

    Raises:
        ValueError: if a name is unknown or there are more or fewer names than groups.
    """
    names: list[Any] = [how] * groups if isinstance(how, str) else list(how)
    check_divergences(names)
    if len(names) != groups:
        raise ValueError(f"expected one divergence or one for each of {groups} groups of latents, got {len(names)}")
    return names


def check_divergences(names: str | Sequence[str]) -> None:
    """Raise ValueError for an unknown name."""
    for name in [names] if isinstance(names, str) else names:
        if name not in DIVERGENCES:
            raise ValueError(f"kl must be one of {', '.join(DIVERGENCES)}, got {name!r}")
