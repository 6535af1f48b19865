"""Flows for integers: continuous by added noise, and a lower bound of the log-likelihood."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from logprob.distributions import DistributionModule, IntractableError, UnnormalizedDistribution
from logprob.flows.base import DEFAULT_OPTIONS, InverseMethod, SurrogateOptions
from logprob.flows.dequantization_noise import DequantizationNoise, UniformNoise
from logprob.flows.flow import INITIAL_ROWS, Flow, SurrogateLogProb, snapshot
from logprob.flows.tracing import is_traced


class Dequantized(DistributionModule):
    """A flow as a model of integers ``0 .. K-1``: ``P(x) = integral over [0, 1)^D of p(x + u) du``.

    That probability is intractable. What is known is a bound with noise ``u_k ~ q(u | x)``,
    ``log P(x) >= E log (1/S) sum_k p(x + u_k) / q(u_k | x)``, the tighter the more samples S.

    Args:
        flow: over the rows ``x + u``; its preprocessing takes values in [0, K], see :class:`PixelLogits`.
        categories: number K of values of each variable.
        noise: law of ``u``; uniform if omitted.

    Raises:
        ValueError: if ``categories`` is below 1, or rows are not integers; on the CPU also for rows with a value that
            is not in ``0 .. K-1``, where no probability is asked for (another device would have to be waited for).

    References:
        Theis, van den Oord, Bethge, "A Note on the Evaluation of Generative Models", ICLR 2016;
        Ho et al., "Flow++", ICML 2019; Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016.

    Example:
        >>> import torch
        >>> from logprob.flows import DenseFlow, PixelLogits
        >>> model = Dequantized(DenseFlow(4, preprocessing=[PixelLogits(17)]), categories=17)
        >>> x = torch.randint(17, (8, 4))
        >>> model().log_prob_bound(x, samples=5).shape, model().sample((2,)).dtype
        (torch.Size([8]), torch.int64)
    """

    def __init__(self, flow: Flow, categories: int, noise: DequantizationNoise | None = None) -> None:
        super().__init__()
        if categories < 1:
            raise ValueError(f"categories must be at least 1, got {categories}")
        self.flow = flow
        self.categories = categories
        self.noise = UniformNoise() if noise is None else noise

    def forward(self, context: Tensor | None = None) -> DequantizedDistribution:
        """The distribution of the present parameters."""
        return DequantizedDistribution(self, context)

    def dequantize(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """``(x + u, log q(u | x))`` for rows ``(N, *shape)`` of integers, in the floating type of the flow."""
        rows = self._rows(x)
        u, log_q = self.noise(rows, generator)
        return _add(rows, u), log_q

    def surrogate_log_prob(
        self, x: Tensor, context: Tensor | None = None, options: SurrogateOptions = DEFAULT_OPTIONS
    ) -> SurrogateLogProb:
        """The surrogate of the bound with one sample: only its gradient means anything."""
        y, log_q = self.dequantize(x)
        log_prob, energies = self.flow.surrogate_log_prob(y, context, options)
        return SurrogateLogProb(log_prob - log_q, energies)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set what depends on data from rows ``(N, *shape)``.

        Raises:
            ValueError: if a row has a value that is not in ``0 .. K-1``.
        """
        _check_integers(x)
        self._check_range(x)
        with torch.no_grad():
            y, _ = self.dequantize(x[:INITIAL_ROWS])
            self.flow.initialize(y, None if context is None else context[:INITIAL_ROWS])

    def synchronize(self) -> None:
        """Make every learned inverse of the flow exact, or the best there is."""
        self.flow.synchronize()

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """What the flow maps to latents ``z``: ``x + u``, not rounded."""
        return self.flow.inverse(z, context, method)

    def approximate_inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """``inverse`` by the learned inverses."""
        return self.flow.approximate_inverse(z, context)

    def reconstruct(self, x: Tensor, context: Tensor | None = None, method: InverseMethod = "approximate") -> Tensor:
        """``x`` through the flow and back, in the units of ``x`` and not rounded.

        No noise: what goes through is the middle ``x + 1/2`` of the cell, so an exact inverse returns ``x``.
        """
        return self.flow.reconstruct(self._rows(x) + 0.5, context, method) - 0.5

    def _rows(self, x: Tensor) -> Tensor:
        _check_integers(x)
        if x.is_cpu and not is_traced(x):
            self._check_range(x)
        return x.to(floating_type(self.flow))

    def _check_range(self, x: Tensor) -> None:
        if not x.numel():
            return
        low, high = (int(value) for value in x.aminmax())
        if low < 0 or high >= self.categories:
            raise ValueError(f"values must be in 0 .. {self.categories - 1}, got {low} .. {high}")

    def extra_repr(self) -> str:
        """The number of values."""
        return f"categories={self.categories}"


class DequantizedDistribution(UnnormalizedDistribution):
    """The distribution over integers of a :class:`Dequantized` flow's parameters as they are when it is made.

    Args:
        module: the model.
        context: what the flow is conditioned on.
    """

    def __init__(self, module: Dequantized, context: Tensor | None = None) -> None:
        self._flow = module.flow(context)
        self._noise = module.noise
        self._state = snapshot(module.noise)
        self.categories = module.categories
        self._dtype = floating_type(module.flow)
        super().__init__(self._flow.batch_shape, self._flow.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """Integers ``0 .. K-1``."""
        return constraints.independent(constraints.integer_interval(0, self.categories - 1), len(self.event_shape))

    def log_prob_bound(self, value: Tensor, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """A lower bound of ``log P(value)`` in expectation over the noise, in nats.

        ``log (1/S) sum_k p(x + u_k) / q(u_k | x)`` with ``u_k ~ q(u | x)``; -inf for values that are not in
        ``0 .. K-1``.

        Args:
            value: integers, ``sample_shape + batch_shape + event_shape``.
            samples: S; the bound rises with it, to ``log P`` in the limit.
            generator: source of randomness, with which the noise depends on neither type, device nor batching.

        Returns:
            Shape ``sample_shape + batch_shape``; differentiable in all parameters, those of the noise included.

        Raises:
            ValueError: if ``samples`` is below 1, or ``value`` has another event shape or is not of integers.
        """
        _check_integers(value)
        event, rank = tuple(self.event_shape), len(self.event_shape)
        if tuple(value.shape[value.dim() - rank :]) != event:
            raise ValueError(f"value must end in the event shape {event}, got {tuple(value.shape)}")
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        leading = torch.broadcast_shapes(value.shape[: value.dim() - rank], self.batch_shape)
        value = value.expand(*leading, *event).reshape(math.prod(leading), *event)
        rows = value.clamp(0, self.categories - 1)
        log_weights = self._log_weights(rows.to(self._dtype), leading, samples, generator)
        bound = log_weights.logsumexp(0) - math.log(samples)
        return bound.masked_fill((rows != value).flatten(1).any(1).reshape(leading), -math.inf)

    def _log_weights(
        self, rows: Tensor, leading: torch.Size, samples: int, generator: torch.Generator | None
    ) -> Tensor:
        """``log p(x + u) - log q(u | x)``, of shape ``(S, *leading)``."""
        # The samples of a row are drawn next to each other, so that the noise of a row does not depend on batching.
        rows = rows.repeat_interleave(samples, 0)
        u, log_q = torch.func.functional_call(self._noise, self._state, (rows, generator), tie_weights=False)
        y = _add(rows, u).reshape(*leading, samples, *self.event_shape).movedim(len(leading), 0)
        return self._flow.log_prob(y) - log_q.reshape(*leading, samples).movedim(-1, 0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Raises :class:`IntractableError`; use :meth:`log_prob_bound`."""
        raise IntractableError(
            "the probability of an integer is an integral of the flow's density; use log_prob_bound(value, samples), "
            "a lower bound in expectation, with NegativeLikelihoodBound in training and LikelihoodBound as the metric"
        )

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """Raises :class:`IntractableError`; use :meth:`log_prob_bound`."""
        return self.log_prob(value)

    @property
    def log_partition(self) -> Tensor:
        """Raises :class:`IntractableError`; use :meth:`log_prob_bound`."""
        raise IntractableError("a dequantised flow has no unnormalised probability; use log_prob_bound")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Integers: samples of the flow, rounded down; int64, ``sample_shape + batch_shape + event_shape``."""
        return self._flow.sample(sample_shape).floor().clamp(0, self.categories - 1).long()

    def expand(self, batch_shape: Any, _instance: Any = None) -> DequantizedDistribution:
        """The same distribution with a larger batch shape."""
        new = self._get_checked_instance(DequantizedDistribution, _instance)
        new._flow = self._flow.expand(batch_shape)
        new._noise, new._state = self._noise, self._state
        new.categories, new._dtype = self.categories, self._dtype
        UnnormalizedDistribution.__init__(new, torch.Size(batch_shape), self.event_shape, validate_args=False)
        return new


def floating_type(module: torch.nn.Module) -> torch.dtype:
    """The type of the first floating tensor of ``module``, or the default type."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.get_default_dtype())


def _check_integers(x: Tensor) -> None:
    if x.is_floating_point() or x.is_complex():
        raise ValueError(f"a dequantised flow models integers, got values of type {x.dtype}")


def _add(x: Tensor, u: Tensor) -> Tensor:
    """``x + u``, kept below ``x + 1``, to which it may round: 255 + u does in float32 for u > 1 - 2^-17."""
    return torch.minimum(x + u, torch.nextafter(x + 1, x))
