"""Logits of Kumaraswamy variables: the law of ``log(v / (1 - v))``."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Beta, Distribution, constraints, kl_divergence
from torch.distributions.kl import register_kl

from logprob.simplex.kumaraswamy import Kumaraswamy


class KumaraswamyLogits(Distribution):
    """``y = log(v / (1 - v))`` of a variable v with the law :class:`Kumaraswamy` (a, b), which never rounds to an end.

    For ``a = 1`` it is the law of the logit of a Beta(1, b) variable.

    Args:
        a: positive.
        b: positive, broadcasts against ``a``.

    Example:
        >>> import torch
        >>> q = KumaraswamyLogits(torch.full((4, 3), 2.0), torch.ones(3))
        >>> q.rsample((5,)).shape, q.log_prob(torch.zeros(3)).shape
        (torch.Size([5, 4, 3]), torch.Size([4, 3]))
        >>> kl_divergence(q, KumaraswamyLogits(torch.ones(3), torch.ones(3)))[0]  # log 2 - 1/2
        tensor([0.1931, 0.1931, 0.1931])
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own class-level convention)
    support = constraints.real
    has_rsample = True

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self.variable = Kumaraswamy(a, b, validate_args=False)
        super().__init__(self.variable.batch_shape, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples ``sample_shape + batch_shape``, differentiable."""
        return self.variable.rsample_logits(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats."""
        return self.variable.log_prob_logits(value)

    def log_ratio(self, other: Distribution, value: Tensor, stick_the_landing: bool = False) -> Tensor:
        """``log q(value) - log p(value)`` of this law q and another one p, in nats.

        Args:
            other: p.
            value: samples.
            stick_the_landing: let no gradient reach the parameters of q but through ``value``.
        """
        q = KumaraswamyLogits(self.variable.a.detach(), self.variable.b.detach()) if stick_the_landing else self
        ratio: Tensor = q.log_prob(value) - other.log_prob(value)
        return ratio

    def expand(self, batch_shape: Any, _instance: Any = None) -> KumaraswamyLogits:
        """The same law with a batch shape."""
        return KumaraswamyLogits(self.variable.a.expand(batch_shape), self.variable.b.expand(batch_shape))


@register_kl(KumaraswamyLogits, KumaraswamyLogits)
def _kl_kumaraswamy_logits(q: KumaraswamyLogits, p: KumaraswamyLogits) -> Tensor:
    """That of the variables, which is closed if p is a Beta(1, b) law."""
    one, b = p.variable.a, p.variable.b
    if not bool((one == 1).all()):
        raise NotImplementedError(
            "the divergence between Kumaraswamy laws is known only from one with a = 1, a Beta(1, b) law; "
            "average log_ratio over samples"
        )
    return kl_divergence(q.variable, Beta(one, b, validate_args=False))
