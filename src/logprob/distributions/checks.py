"""What objectives and metrics ask of a model with latent variables."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Distribution


def check_latent(model: Any, user: str) -> None:
    """Raise TypeError unless ``model`` has latent variables; ``user`` is the class that wants them."""
    if not hasattr(model, "posteriors"):
        raise TypeError(f"{type(model).__name__} has no posteriors; {user} is for models with latent variables")


def refuse_context(model: Any, context: Tensor | None) -> None:
    """Raise ValueError if there is a context, of which ``model`` would know nothing."""
    if context is not None:
        raise ValueError(f"{type(model).__name__} takes no context, got one of shape {tuple(context.shape)}")


def has_categories(law: Distribution) -> bool:
    """Whether ``law`` relaxes a law of categories."""
    return hasattr(law, "to_categorical")


def has_structure(law: Distribution) -> bool:
    """Whether the values of ``law`` are structures that a solver chooses among, such as subsets or trees."""
    return hasattr(law, "solver")


def is_drawn_by_gradient(law: Distribution) -> bool:
    """Whether it is for a gradient estimator to say how values of ``law`` are drawn: they are discrete, or stand in."""
    return has_categories(law) or has_structure(law)


def categorical_divergence(q: Any, p: Any) -> Tensor:
    """``sum_k P_k (log P_k - log p_k)`` of the categories of two relaxed laws, in nats, batch shape."""
    logits: Tensor = q.logits
    return (logits.exp() * (logits - p.logits)).sum(-1)
