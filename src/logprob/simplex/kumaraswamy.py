"""Kumaraswamy variables on (0, 1): like Beta variables, but with a sampler in closed form."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Beta, Distribution, constraints
from torch.distributions.kl import register_kl

from logprob.simplex.settings import check_positive, checks

_EULER = 0.57721566490153286
_TIME = (-3.6, 3.9, 0.05)  # t in e = exp(t - exp(-t)): from e = 3e-18 to 48, whose tails weigh below 1e-17
_SMALL = 40.0  # exp(-40) is lost beside 1 in either precision


class Kumaraswamy(Distribution):
    """Variables in (0, 1) with the distribution function ``P(V <= v) = 1 - (1 - v^a)^b``.

    The density is ``a b v^(a-1) (1 - v^a)^(b-1)``; that of Beta(a, b) if a or b is 1. A sample is the inverse of the
    distribution function, ``v = (1 - exp(-e/b))^(1/a)`` with e exponential, formed in logarithms: where v rounds to 0
    or 1, :meth:`rsample_logits` is still exact. ``a`` is what torch calls ``concentration1``, ``b`` ``concentration0``.

    ``torch.distributions.kl_divergence`` from a Beta law is registered: closed but for ``E log(1 - V)``, an integral in
    one dimension, see :attr:`mean_log_rest`.

    Args:
        a: positive.
        b: positive, broadcasts against ``a``.
        validate_args: whether to check arguments and values; torch's default.

    Raises:
        ValueError: if a parameter is not positive and finite.

    References:
        Kumaraswamy, "A generalized probability density function for double-bounded random processes", 1980; Nalisnick
        and Smyth, "Stick-Breaking Variational Autoencoders", ICLR 2017.

    Example:
        >>> import torch
        >>> q = Kumaraswamy(torch.tensor(1.0), torch.tensor(3.0))
        >>> q.mean, q.log_prob(torch.tensor(0.5)).exp()
        (tensor(0.2500), tensor(0.7500))
        >>> p = torch.distributions.Beta(torch.tensor(1.0), torch.tensor(1.0))
        >>> torch.distributions.kl_divergence(q, p)  # log 3 - 2/3
        tensor(0.4319)
    """

    arg_constraints = {"a": constraints.positive, "b": constraints.positive}  # noqa: RUF012  (torch's convention)
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, a: Tensor, b: Tensor, validate_args: bool | None = None) -> None:
        self.a, self.b = torch.broadcast_tensors(a, b)
        super().__init__(self.a.shape, validate_args=False)
        self._validate_args = checks(validate_args)
        if self._validate_args:
            check_positive("a", self.a)
            check_positive("b", self.b)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Kumaraswamy:
        """The same law with a batch shape; nothing is copied."""
        new: Kumaraswamy = self._get_checked_instance(Kumaraswamy, _instance)
        new.a, new.b = self.a.expand(batch_shape), self.b.expand(batch_shape)
        Distribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples ``sample_shape + batch_shape``, rounded to the numbers in [0, 1]."""
        return self._rsample_logs(sample_shape)[0].exp()

    def rsample_logits(self, sample_shape: Any = ()) -> Tensor:
        """``log(v / (1 - v))`` of samples, finite wherever they are."""
        log_v, log_rest = self._rsample_logs(sample_shape)
        return log_v - log_rest

    def _rsample_logs(self, sample_shape: Any) -> tuple[Tensor, Tensor]:
        """``log v`` and ``log(1 - v)``."""
        time = torch.empty(self._extended_shape(torch.Size(sample_shape)), dtype=self.a.dtype, device=self.a.device)
        # A generator in steps of 2^-24 gives 0 now and then, which is no value of an exponential variable.
        time = time.exponential_().clamp(min=torch.finfo(time.dtype).tiny)
        return _log1mexp(-time / self.b) / self.a, _log_rest(time / self.b, self.a)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return self._log_prob_of_log(value.log())

    def log_prob_logits(self, logits: Tensor) -> Tensor:
        """Log-density of ``y = log(v / (1 - v))`` at ``y``, in nats, wherever v would round."""
        far = logits > _SMALL  # there log v underflows in the end, and 1 - v^a is a (1 - v)
        power = _log1mexp(self.a * F.logsigmoid(torch.where(far, 0.0, logits)))
        jacobian = F.logsigmoid(logits) + F.logsigmoid(-logits)
        return self._assembled(F.logsigmoid(logits), torch.where(far, self.a.log() - logits, power)) + jacobian

    def _log_prob_of_log(self, log_v: Tensor) -> Tensor:
        return self._assembled(log_v, _log1mexp(self.a * log_v))

    def _assembled(self, log_v: Tensor, log_rest_of_power: Tensor) -> Tensor:
        """Log-density from ``log v`` and ``log(1 - v^a)``."""
        return self.a.log() + self.b.log() + (self.a - 1) * log_v + (self.b - 1) * log_rest_of_power

    def cdf(self, value: Tensor) -> Tensor:
        """``1 - (1 - v^a)^b``."""
        return -torch.expm1(self.b * _log1mexp(self.a * value.log()))

    def icdf(self, value: Tensor) -> Tensor:
        """``(1 - (1 - u)^(1/b))^(1/a)``."""
        return (_log1mexp(torch.log1p(-value) / self.b) / self.a).exp()

    @property
    def mean(self) -> Tensor:
        """``b B(1 + 1/a, b)``."""
        return self._moment(1)

    @property
    def variance(self) -> Tensor:
        """From the first two moments; absolute rounding of the second."""
        return self._moment(2) - self._moment(1).square()

    def _moment(self, order: int) -> Tensor:
        """``E V^n = b B(1 + n/a, b)``."""
        shifted = 1 + order / self.a
        return (self.b.log() + shifted.lgamma() + self.b.lgamma() - (shifted + self.b).lgamma()).exp()

    @property
    def mode(self) -> Tensor:
        """``((a - 1) / (a b - 1))^(1/a)`` if a and b are above 1; NaN else, as the density may be largest at an end."""
        inner = (self.a > 1) & (self.b > 1)
        return torch.where(inner, (self.a - 1) / (self.a * self.b - 1), torch.nan).pow(1 / self.a)

    def entropy(self) -> Tensor:
        """``1 - 1/b + (1 - 1/a)(digamma(b + 1) + gamma) - log(a b)`` in nats, closed."""
        harmonic = torch.digamma(self.b + 1) + _EULER
        return 1 - 1 / self.b + (1 - 1 / self.a) * harmonic - self.a.log() - self.b.log()

    @property
    def mean_log(self) -> Tensor:
        """``E log V = -(digamma(b + 1) + gamma) / a``, closed."""
        return -(torch.digamma(self.b + 1) + _EULER) / self.a

    @property
    def mean_log_rest(self) -> Tensor:
        """``E log(1 - V)``, by the trapezoidal rule over 151 values of the exponential variable.

        Its error is below ``2e-12 (1 + |value|)`` in float64 for a and b in [0.01, 100]. The usual series, ``-b sum_m
        B(m/a, b) / (m + a b)``, would be left with an error of the order ``M^-b`` after M terms.
        """
        first, last, step = _TIME
        t = first + step * torch.arange(round((last - first) / step) + 1, dtype=self.a.dtype, device=self.a.device)
        time = (t - (-t).exp()).exp()
        weights = step * (-time).exp() * time * (1 + (-t).exp())
        return (_log_rest(time / self.b.unsqueeze(-1), self.a.unsqueeze(-1)) * weights).sum(-1)


def _log1mexp(x: Tensor) -> Tensor:
    """``log(1 - exp(x))`` of negative numbers, to rounding."""
    near = x > -math.log(2)
    half = torch.full_like(x, -math.log(2))
    return torch.where(
        near, (-torch.expm1(torch.where(near, x, half))).log(), torch.log1p(-torch.where(near, half, x).exp())
    )


def _log_rest(time: Tensor, a: Tensor) -> Tensor:
    """``log(1 - (1 - exp(-time))^(1/a))``; of long times, whose exponential is lost beside 1, ``-time - log a``."""
    long = time > _SMALL
    exact = _log1mexp(_log1mexp(-torch.where(long, 1.0, time)) / a)
    return torch.where(long, -time - a.log(), exact)


@register_kl(Kumaraswamy, Beta)
def _kl_kumaraswamy_beta(q: Kumaraswamy, p: Beta) -> Tensor:
    """``E_q log q - E_q log p``, all closed but for ``E log(1 - V)``."""
    one, zero = p.concentration1, p.concentration0
    log_normaliser = one.lgamma() + zero.lgamma() - (one + zero).lgamma()
    return log_normaliser - q.entropy() - (one - 1) * q.mean_log - (zero - 1) * q.mean_log_rest
