"""What all exact laws of discrete structures have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions.kl import register_kl

from logprob.discrete.solvers.base import Solver
from logprob.distributions import UnnormalizedDistribution


class StructuredLaw(UnnormalizedDistribution, ABC):
    """The exponential family of a finite set C of 0-1 arrays: ``p(z) = exp(<z, scores> - A(scores))`` for z in C.

    The gradient of the log-partition function A are the marginals ``mu = E z``, that of the marginals is the
    covariance. Off C the probability is 0. A subclass knows C, A and mu, and draws from p.

    A score of -inf takes its entry out of all structures, one of +inf (where a subclass says so) puts it into all of
    them, and is not counted in A: this is the law given what is fixed.

    Shapes are ``sample_shape + batch_shape + event_shape``, entropies and divergences are in nats. What is computed is
    kept, with its graph, as distributions of torch keep theirs: a second backward pass through the same law needs
    ``retain_graph``.

    Args:
        scores: shape ``(*batch, *event)``.
        event_dim: trailing dimensions of one structure.
    """

    has_rsample = False
    has_enumerate_support = True

    def __init__(self, scores: Tensor, event_dim: int) -> None:
        if scores.dim() < event_dim or not scores.is_floating_point():
            got = f"{scores.dtype} of shape {tuple(scores.shape)}"
            name = type(self).__name__
            raise ValueError(f"{name} expects floating point scores of at least {event_dim} dimensions, got {got}")
        self.scores = scores
        cut = scores.dim() - event_dim
        super().__init__(scores.shape[:cut], scores.shape[cut:], validate_args=False)

    @property
    @abstractmethod
    def solver(self) -> Solver:
        """The solver of ``argmax <z, scores>`` over C."""

    @abstractmethod
    def with_scores(self, scores: Tensor) -> Self:
        """The law over the same C at other scores, whose batch shape it takes on."""

    @abstractmethod
    def contains(self, value: Tensor) -> Tensor:
        """Whether ``value`` is in C, boolean ``sample_shape + batch_shape``; no matter what scores say."""

    @abstractmethod
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Independent exact samples, of the type of the scores, without gradient."""

    @property
    @abstractmethod
    def _wide_log_partition(self) -> Tensor:
        """A in the type that is computed in."""

    @property
    @abstractmethod
    def _wide_marginals(self) -> Tensor:
        """mu in the type that is computed in."""

    @property
    def log_partition(self) -> Tensor:
        """A, of the batch shape."""
        return self._wide_log_partition.to(self.scores.dtype)

    @property
    def marginals(self) -> Tensor:
        """``mu = E z = P(z_i = 1)``, of the shape of the scores; differentiable."""
        return self._wide_marginals.to(self.scores.dtype)

    @property
    def mean(self) -> Tensor:
        """The marginals."""
        return self.marginals

    @property
    def variance(self) -> Tensor:
        """``mu (1 - mu)`` of each entry."""
        return self.marginals * (1 - self.marginals)

    @property
    def mode(self) -> Tensor:
        """The most probable structure."""
        return self.solver(self.scores)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """``<value, scores>`` less what is fixed; -inf off C and where something fixed is otherwise."""
        return self._within(value, self._energy(value))

    def log_prob(self, value: Tensor) -> Tensor:
        """``unnormalized_log_prob - A``, in nats; -inf where that is."""
        return self._within(value, self._energy(value) - self._wide_log_partition)

    def draw_with_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Samples, and their log-probability, whose gradient in the scores is ``z - mu``."""
        z = self.sample(sample_shape)
        return z, (self._energy(z) - self._wide_log_partition).to(self.scores.dtype)

    def entropy(self) -> Tensor:
        """``A - <mu, scores>``, in nats, of the batch shape."""
        return self._cross_entropy(self._wide_marginals).to(self.scores.dtype)

    def covariance_product(self, vector: Tensor) -> Tensor:
        """``Cov(z) vector``, the derivative of the marginals along a vector, without a matrix.

        Args:
            vector: shape ``(..., *batch, *event)``.

        Returns:
            Of the shape of ``vector``; differentiable.
        """
        scores = self.scores.expand(vector.shape)
        pull = torch.func.vjp(lambda at: self.with_scores(at).marginals, scores)[1]
        product: Tensor = pull(vector.to(scores.dtype))[0]
        return product

    @property
    def covariance_matrix(self) -> Tensor:
        """``Cov(z)`` of all pairs of entries, shape ``(*batch, D, D)`` where D is the size of the flattened event."""
        size = self.event_shape.numel()
        units = torch.eye(size, dtype=self.scores.dtype, device=self.scores.device)
        units = units.reshape(size, *[1] * len(self.batch_shape), *self.event_shape).expand(size, *self.scores.shape)
        return self.covariance_product(units).flatten(1 + len(self.batch_shape)).movedim(0, -2)

    @property
    def pairwise_marginals(self) -> Tensor:
        """``P(z_i = z_j = 1) = Cov + mu mu^T``, shape ``(*batch, D, D)``."""
        marginals = self.marginals.flatten(len(self.batch_shape))
        return self.covariance_matrix + marginals.unsqueeze(-1) * marginals.unsqueeze(-2)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All of C, shape ``(M, *batch, *event)``, or with ones for the batch shape.

        Raises:
            IntractableError: if C is too large to be listed.
        """
        states = self.solver.states(self.event_shape).to(self.scores)
        states = states.reshape(len(states), *[1] * len(self.batch_shape), *self.event_shape)
        return states.expand(len(states), *self.scores.shape) if expand else states

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same law with another batch shape, to which the scores can be expanded."""
        law = self.with_scores(self.scores.expand(*batch_shape, *self.event_shape))
        vars(law)["_wide_log_partition"] = self._wide_log_partition.expand(batch_shape)  # the same to the last bit
        return law

    def _cross_entropy(self, marginals: Tensor) -> Tensor:
        """``-E log p(z)`` for z of other marginals, ``A - <marginals, scores>``, in the type that is computed in."""
        return self._wide_log_partition - self._sum(marginals * self._finite(marginals))

    def _finite(self, like: Tensor) -> Tensor:
        """The scores, 0 where they fix something."""
        return self.scores.masked_fill(self.scores.isinf(), 0.0).to(like.dtype)

    def _energy(self, value: Tensor) -> Tensor:
        """``<value, scores>`` less what is fixed, in the type that is computed in."""
        scores = self._finite(self._wide_log_partition)
        return self._sum(value.to(scores) * scores)

    def _sum(self, values: Tensor) -> Tensor:
        """The sum over an event."""
        return values.flatten(values.dim() - len(self.event_shape)).sum(-1)

    def _known(self, z: Tensor) -> Tensor:
        """Samples, NaN where there is no law to draw from."""
        nothing = 0 * self._wide_log_partition.to(z.dtype)
        return z + nothing.reshape(*self.batch_shape, *[1] * len(self.event_shape))

    def _within(self, value: Tensor, log_prob: Tensor) -> Tensor:
        """``log_prob``, -inf where ``value`` has probability 0."""
        against = ((value != 0) & (self.scores == -torch.inf)) | ((value != 1) & (self.scores == torch.inf))
        possible = self.contains(value) & (self._sum(against.to(self.scores)) == 0)
        return log_prob.to(self.scores.dtype).masked_fill(~possible, -torch.inf)


@register_kl(StructuredLaw, StructuredLaw)
def _kl(p: StructuredLaw, q: StructuredLaw) -> Tensor:
    """``<mu_p, scores_p - scores_q> - A_p + A_q`` in nats, of the batch shape; infinite where q excludes what p has."""
    if p.solver != q.solver or p.event_shape != q.event_shape:
        ours, theirs = (f"{law.solver} on {tuple(law.event_shape)}" for law in (p, q))
        raise ValueError(f"expected two laws over the same structures, got {ours} and {theirs}")
    marginals = p._wide_marginals
    divergence = q._cross_entropy(marginals) - p._cross_entropy(marginals)
    excluded = ((marginals > 0) & (q.scores == -torch.inf)) | ((marginals < 1) & (q.scores == torch.inf))
    return divergence.masked_fill(p._sum(excluded.to(marginals)) > 0, torch.inf).to(p.scores.dtype)
