"""The Concrete law: softmax of logits plus Gumbel noise, on the simplex and on the log-simplex."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from logprob.distributions import IntractableError
from logprob.simplex.fast_softmax import log_softmax, softmax
from logprob.simplex.gumbel_noise import gumbel, gumbel_given
from logprob.simplex.own_sample import RemembersSample
from logprob.simplex.points import check_event, check_points, log_with_zeros, on_simplex
from logprob.simplex.relaxed import RelaxedOneHot, density_of_ratios, one_hot_forward
from logprob.simplex.settings import (
    Number,
    check_finite,
    check_floating,
    check_positive,
    checks,
    computing_dtype,
    over_categories,
    per_batch,
)


class _GumbelSoftmax(RemembersSample, RelaxedOneHot):
    """What the two laws share: parameters, noise, categories, and the density of log-ratios."""

    arg_constraints = {  # noqa: RUF012  (torch's own class-level convention)
        "temperature": constraints.positive,
        "logits": constraints.real_vector,
    }

    def __init__(
        self,
        temperature: Number,
        logits: Tensor | None = None,
        probs: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (logits is None) == (probs is None):
            raise ValueError(f"expected one of logits and probs, got {'neither' if logits is None else 'both'}")
        given = probs if logits is None else logits
        assert given is not None
        check_floating("logits" if probs is None else "probs", given)
        if given.dim() == 0 or given.shape[-1] < 2:
            raise ValueError(f"expected logits of shape (..., K) with K >= 2, got {tuple(given.shape)}")
        self.temperature = per_batch(temperature, given)
        batch = torch.broadcast_shapes(given.shape[:-1], self.temperature.shape)
        wanted = checks(validate_args)
        if wanted:
            check_positive("temperature", self.temperature)
            check_finite("logits", given) if logits is not None else check_positive("probs", given)
        self._set(given if probs is None else given.log(), batch, wanted)

    def _set(self, scores: Tensor, batch: torch.Size, validate_args: bool) -> None:
        """``scores`` are logits up to a constant: no formula below needs that constant."""
        self._scores = scores.expand(*batch, -1)
        RelaxedOneHot.__init__(self, batch, scores.shape[-1:], validate_args=False)
        self._validate_args = validate_args

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same law with a batch shape; nothing is copied."""
        new = self._get_checked_instance(type(self), _instance)
        new.temperature = self.temperature
        new._set(self._scores, torch.Size(batch_shape), self._validate_args)
        return new

    @property
    def logits(self) -> Tensor:
        """Log-probabilities of the categories in nats, normalised, ``batch_shape + (K,)``."""
        return log_softmax(self._computing()).to(self._scores.dtype)

    def draw_noise(self, sample_shape: Any = ()) -> Tensor:
        """Standard Gumbel, ``sample_shape + batch_shape + (K,)``."""
        return gumbel((*sample_shape, *self.batch_shape, *self.event_shape), self._computing())

    def scores(self, noise: Tensor) -> Tensor:
        """Logits plus noise, ``(..., K)``."""
        return self.logits + noise

    def noise_given(self, category: Tensor) -> Tensor:
        """Gumbel noise given one-hot categories ``(..., K)``, a differentiable function of the logits.

        The largest score is a standard Gumbel, whatever its category; the others are Gumbels truncated to lie below.
        """
        return gumbel_given(log_softmax(self._computing()), category)

    def parameters(self) -> tuple[Tensor]:
        """The logits, up to a constant."""
        return (self._scores,)

    def with_parameters(self, *parameters: Tensor) -> Any:
        """The law of the same temperature with other logits."""
        new = self._get_checked_instance(type(self))
        new.temperature = self.temperature
        new._set(*parameters, parameters[0].shape[:-1], self._validate_args)
        return new

    def log_ratio(self, other: Distribution, value: Tensor, stick_the_landing: bool = False) -> Tensor:
        """``log q(value) - log p(value)`` of this law q and another law p, in nats.

        Densities of ``log(psi_k / psi_K)`` are compared, so that ``sum_k log psi_k`` is not formed. The mean
        over samples of q estimates KL(q || p), which has no closed form. If p is a uniform law, of the temperature of q
        or of a fixed one, these are the usual sampled divergences of Gumbel-softmax models; they differ from the
        divergence of the categories, ``kl_divergence(q.to_categorical(), p.to_categorical())``.

        Args:
            other: p; any law with ``log_prob_of_ratios``.
            value: as samples of this law; use the last one if the temperature is low.
            stick_the_landing: leave out the gradient of ``log q`` with respect to its own parameters at a fixed value.

        Raises:
            ValueError: if p or ``value`` has another number of categories.
            TypeError: if p has no ``log_prob_of_ratios``.

        References:
            Maddison, Mnih, Teh, "The Concrete Distribution", ICLR 2017, Eq. 21; Roeder, Wu, Duvenaud, "Sticking the
            Landing", NeurIPS 2017.
        """
        theirs = density_of_ratios(other, self.event_shape)
        log_psi, inside = self._log_psi(value)
        theirs = other._density if isinstance(other, _GumbelSoftmax) else theirs
        ratio = self._density(log_psi) - theirs(log_psi)
        if stick_the_landing:
            score = self._density(log_psi.detach())
            ratio = ratio - (score - score.detach())
        return ratio if inside is None else ratio.where(inside, -torch.inf)

    def log_prob_of_ratios(self, log_value: Tensor) -> Tensor:
        """Log-density of the additive log-ratios ``log(psi_k / psi_K)`` at ``log psi``, in nats."""
        check_event(log_value, self.event_shape[0])
        log_psi, inside = _without_infinities(log_value)
        return self._density(log_psi).where(inside, -torch.inf)

    def _density(self, log_psi: Tensor) -> Tensor:
        """``log (K-1)! + (K-1) log t + sum_k s_k - K log sum_k exp(s_k)`` with ``s = logits - t log psi``."""
        count, scores = self.event_shape[0], self._computing()
        constant = math.lgamma(count) + (count - 1) * self.temperature.log()
        return log_softmax(scores - over_categories(self.temperature) * log_psi.to(scores.dtype)).sum(-1) + constant

    def _computing(self) -> Tensor:
        return self._scores.to(computing_dtype(self._scores.dtype))

    def _perturbed(self, noise: Tensor) -> Tensor:
        return (self._computing() + noise) / over_categories(self.temperature)

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        return self._scores, self.temperature

    @abstractmethod
    def _logarithm(self, value: Tensor) -> Tensor:
        """``log psi`` of a foreign value."""

    def _log_psi(self, value: Tensor) -> tuple[Tensor, Tensor | None]:
        """``log psi``, and where it is finite; None if it is one's own sample."""
        check_event(value, self.event_shape[0])
        noise = self._recall(value, self._tensors)
        if noise is None:
            return _without_infinities(self._logarithm(value))
        log_psi = log_softmax(self._perturbed(noise))
        return (log_psi if value.requires_grad else log_psi.detach()), None

    def _validate_sample(self, value: Tensor) -> None:
        check_event(value, self.event_shape[0])
        if self._recall(value, self._tensors) is None:
            check_points(value, self._valid(value))

    @abstractmethod
    def _valid(self, value: Tensor) -> Tensor:
        """Which points are in the support."""

    @property
    def mean(self) -> Tensor:
        """Raises :class:`IntractableError`: it has no closed form."""
        raise IntractableError(f"{type(self).__name__} has no mean in closed form; average rsample((n,))")


class Concrete(_GumbelSoftmax):
    """The Concrete law on the simplex, also called Gumbel-softmax: ``psi = softmax((logits + Gumbel) / temperature)``.

    Its category, the argmax, has the probabilities ``softmax(logits)`` at every temperature. The log-density of the
    first K - 1 coordinates, with ``t`` the temperature::

        log p(psi) = log (K-1)! + (K-1) log t + sum_k s_k - K log sum_k exp(s_k) - sum_k log psi_k,
        s = logits - t log psi

    is exact; that of the law's own last sample is formed from its noise and is finite at any temperature. A value with
    an entry that is exactly 0 has the log-density -inf. In half precision samples are of the type of the logits, and
    log-densities are float32.

    There is no closed divergence of two such laws. :meth:`log_ratio` estimates it; that of the categories is
    ``kl_divergence(q.to_categorical(), p.to_categorical())``.

    Args:
        temperature: positive; a number, or ``(...)``, or ``(..., 1)`` with at least as many dimensions as the logits.
        logits: log-probabilities up to a constant, ``(..., K)`` with K >= 2. K = 2 is the binary case.
        probs: probabilities up to a factor, instead.
        validate_args: whether to check arguments and values; torch's default. Say False under ``torch.func.vmap``.

    Raises:
        ValueError: unless exactly one of ``logits`` and ``probs`` is given; if K < 2; if a parameter is not finite, or
            not positive where it must be.
        TypeError: if the parameter is no tensor of a floating type.

    References:
        Maddison, Mnih, Teh, "The Concrete Distribution", ICLR 2017; Jang, Gu, Poole, "Categorical Reparameterization
        with Gumbel-Softmax", ICLR 2017.

    Example:
        >>> import torch
        >>> q = Concrete(0.01, probs=torch.tensor([0.2, 0.3, 0.5]))
        >>> q.log_prob(q.rsample((4,))).shape, q.mode
        (torch.Size([4]), tensor([0., 0., 1.]))
    """

    support = constraints.simplex

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples ``sample_shape + batch_shape + (K,)``; entries can be exactly 0 at low temperature."""
        noise = self.draw_noise(sample_shape)
        return self._remember(softmax(self._perturbed(noise)).to(self._scores.dtype), noise, self._tensors)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of the first K - 1 coordinates of ``value``, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_psi, inside = self._log_psi(value)
        log_prob = self._density(log_psi) - log_psi.sum(-1)
        return log_prob if inside is None else log_prob.where(inside, -torch.inf)

    def _logarithm(self, value: Tensor) -> Tensor:
        return log_with_zeros(value)

    def _valid(self, value: Tensor) -> Tensor:
        return on_simplex(value)


class ExpConcrete(_GumbelSoftmax):
    """The law of ``log psi`` for a :class:`Concrete` ``psi``: nothing underflows, at any temperature.

    Values are logarithms, not points of the simplex: estimators that show relaxed samples to a function want a
    :class:`Concrete`. Densities, as in the paper and in torch, are those of the additive log-ratios
    ``log(psi_k / psi_K)``, k < K: that of psi plus ``sum_{k<=K} log psi_k``. Arguments are those of :class:`Concrete`.

    Example:
        >>> import torch
        >>> q = ExpConcrete(0.01, logits=torch.zeros(3))
        >>> q.rsample((4,)).logsumexp(-1).abs().max() < 1e-5
        tensor(True)
    """

    support = constraints.real_vector  # a surface in it

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Logarithms of samples, ``sample_shape + batch_shape + (K,)``."""
        noise = self.draw_noise(sample_shape)
        return self._remember(log_softmax(self._perturbed(noise)).to(self._scores.dtype), noise, self._tensors)

    def straight_through(self, sample_shape: Any = ()) -> Tensor:
        """One-hot vectors of the categories, with the gradient of ``psi``."""
        return one_hot_forward(self.rsample(sample_shape).exp())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of the additive log-ratios ``value_k - value_K``, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_psi, inside = self._log_psi(value)
        return self._density(log_psi) if inside is None else self._density(log_psi).where(inside, -torch.inf)

    def _logarithm(self, value: Tensor) -> Tensor:
        return value

    def _valid(self, value: Tensor) -> Tensor:
        return value.logsumexp(-1).abs() < 1e-3


def _without_infinities(log_psi: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of zeros in place of those with an infinity, and which rows had none; NaN stays, and shows."""
    outside = log_psi.amin(-1) == -torch.inf
    return log_psi.masked_fill(outside.unsqueeze(-1), 0.0), ~outside


@register_kl(_GumbelSoftmax, _GumbelSoftmax)
def _kl(q: _GumbelSoftmax, p: _GumbelSoftmax) -> Tensor:
    """Refused: there is no closed form."""
    raise IntractableError(
        f"the divergence of a {type(q).__name__} and a {type(p).__name__} law has no closed form; estimate it by "
        "q.log_ratio(p, q.rsample((n,))).mean(0), or take that of the categories, "
        "kl_divergence(q.to_categorical(), p.to_categorical())"
    )
