"""The two nouns of the library: a short-lived distribution, and the module that owns its parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution


class IntractableError(NotImplementedError):
    """Raised where a distribution cannot give a quantity exactly; the message names what to use instead."""


class UnnormalizedDistribution(Distribution):
    """A distribution known through an unnormalised log-density.

    ``log p(x) = unnormalized_log_prob(x) - log_partition``. A subclass implements the first term, and the
    second where it is tractable; ``log_prob`` and ``score`` follow. Nothing intractable returns a number.

    Shapes are those of :mod:`torch.distributions`: ``sample_shape + batch_shape + event_shape``. An instance
    holds the tensors of *one* parameter state, so what it caches cannot go stale.

    Example:
        >>> import torch
        >>> class Bell(UnnormalizedDistribution):
        ...     support = torch.distributions.constraints.real
        ...     def unnormalized_log_prob(self, value):
        ...         return -value**2 / 2
        >>> Bell(validate_args=False).score(torch.tensor([1.0, -2.0])).detach()
        tensor([-1.,  2.])
        >>> Bell(validate_args=False).log_prob(torch.zeros(3))
        Traceback (most recent call last):
        ...
        logprob.distributions.base.IntractableError: Bell has no log_partition in closed form; use
        unnormalized_log_prob, or an objective that does not need it
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (torch's own class-level convention)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """Log-density up to a constant, in nats, of shape ``sample_shape + batch_shape``."""
        raise NotImplementedError(f"{type(self).__name__} must implement unnormalized_log_prob")

    @property
    def log_partition(self) -> Tensor:
        """Log of the integral of ``exp(unnormalized_log_prob)``, in nats, of shape ``batch_shape``.

        Raises:
            IntractableError: if the integral has no closed form.
        """
        raise IntractableError(
            f"{type(self).__name__} has no log_partition in closed form; "
            "use unnormalized_log_prob, or an objective that does not need it"
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Exact log-density of ``value``, in nats, of shape ``sample_shape + batch_shape``."""
        return self.unnormalized_log_prob(value) - self.log_partition

    def score(self, value: Tensor) -> Tensor:
        """Gradient of the log-density with respect to ``value``, of the shape of ``value``.

        It needs no normaliser. It is itself differentiable where gradients are enabled.
        """
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            value = value if value.requires_grad else value.detach().requires_grad_()
            total = self.unnormalized_log_prob(value).sum()
        (score,) = torch.autograd.grad(total, value, create_graph=differentiable)
        return score

    @property
    def mean(self) -> Tensor:
        """Mean; raises :class:`IntractableError` unless a subclass has it in closed form."""
        raise IntractableError(f"{type(self).__name__} has no mean in closed form")

    @property
    def variance(self) -> Tensor:
        """Variance; raises :class:`IntractableError` unless a subclass has it in closed form."""
        raise IntractableError(f"{type(self).__name__} has no variance in closed form")

    def entropy(self) -> Tensor:
        """Entropy; raises :class:`IntractableError` unless a subclass has it in closed form."""
        raise IntractableError(
            f"{type(self).__name__} has no entropy in closed form; -log_prob(x).mean() over its samples estimates it"
        )

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw reparameterised samples; raises :class:`IntractableError` unless a subclass can."""
        raise IntractableError(f"{type(self).__name__} has no reparameterised sampler")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw independent samples; raises :class:`IntractableError` unless a subclass can."""
        if type(self).rsample is UnnormalizedDistribution.rsample:
            raise IntractableError(f"{type(self).__name__} has no exact sampler")
        with torch.no_grad():
            return self.rsample(sample_shape)


class DistributionModule(nn.Module):
    """A module whose forward pass returns a distribution of its present parameters.

    ``module(context)`` is cheap; make a new distribution after every change of the parameters.

    Example:
        >>> import torch
        >>> class Normal(DistributionModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.loc = torch.nn.Parameter(torch.zeros(()))
        ...     def forward(self, context=None):
        ...         return torch.distributions.Normal(self.loc, 1.0)
        >>> Normal()().log_prob(torch.tensor(0.0)).item()
        -0.918...
    """

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Return the distribution of the present parameters, given ``context`` if the model is conditional."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward(context) -> Distribution")
