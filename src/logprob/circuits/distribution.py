"""The density of a circuit with given parameters: log-probabilities, normaliser, marginals, missing values."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from logprob.circuits import gram, scaled, signed_log
from logprob.circuits.inputs import InputFamily
from logprob.circuits.layers import CP, Algebra, Tucker
from logprob.circuits.leaves import Leaves
from logprob.circuits.scaled import decide, is_traced
from logprob.circuits.schedule import Schedule, upward
from logprob.distributions import IntractableError, UnnormalizedDistribution

_NUMBERS_IN_FLIGHT = 2**24
"""Bound on the size of one intermediate of the matrix-valued passes, which go through the rows in chunks."""


@dataclass(frozen=True)
class CircuitState:
    """Everything that defines a circuit's density at one moment."""

    schedule: Schedule
    families: tuple[InputFamily, ...]
    layer: type[CP] | type[Tucker]
    leaves: Leaves
    weights: tuple[Tensor, ...]
    input_mixture: Tensor | None
    repetition_logits: Tensor | None
    squared: bool

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors that a gradient could reach."""
        inputs = tuple(value for group in self.leaves.groups for value in group.theta.values())
        rest = tuple(t for t in (self.input_mixture, self.repetition_logits) if t is not None)
        return self.weights + rest + inputs

    def to(self, dtype: torch.dtype) -> CircuitState:
        """The same state in another precision."""
        cast = [None if t is None else t.to(dtype) for t in (self.input_mixture, self.repetition_logits)]
        return replace(
            self,
            leaves=self.leaves.to(dtype),
            weights=tuple(weight.to(dtype) for weight in self.weights),
            input_mixture=cast[0],
            repetition_logits=cast[1],
        )

    def roots(self, algebra: Algebra, leaves: Any) -> Any:
        """The state of the roots in ``algebra``, given that of the input regions."""
        if self.input_mixture is not None:
            leaves = algebra.weighted_sum(self.input_mixture, leaves)
        return upward(
            self.schedule,
            leaves,
            lambda depth, left, right: self.layer.combine(algebra, self.weights[depth], left, right),
        )

    def log_values(self, x: Tensor, missing: Tensor | None) -> Tensor:
        """``log|c_r(x)|`` with missing variables integrated, ``(R, B)`` for ``x`` of shape ``(D, B)``."""
        log_values = scaled.log_magnitude(self.roots(scaled, self.leaves.scaled(x, missing)))
        if not decide(log_values.isnan().any()):
            return log_values
        redo = log_values.isnan().any(0).nonzero().squeeze(-1)
        parts = [
            self.roots(signed_log, self.leaves.signed_log(x[:, rows], None if missing is None else missing[:, rows]))
            for rows in redo.split(self._chunk)
        ]
        exact = torch.cat([signed_log.log_magnitude(part) for part in parts], dim=1)
        return log_values.index_copy(1, redo, exact.to(log_values.dtype))

    def log_squares(self, x: Tensor, missing: Tensor) -> Tensor:
        """``log int c_r(x)^2`` over the missing variables, ``(R, B)`` for ``x`` of shape ``(D, B)``."""
        parts = [
            gram.log_total(self.roots(gram, self.leaves.evidence(rows, hidden)))
            for rows, hidden in zip(x.split(self._chunk, 1), missing.split(self._chunk, 1), strict=True)
        ]
        return torch.cat(parts, dim=1)

    def mix(self, log_scores: Tensor) -> Tensor:
        """Sum the repetitions ``(R, B)`` with their positive weights: ``(B,)``."""
        if self.repetition_logits is None:
            return log_scores.squeeze(0)
        return torch.logsumexp(self.repetition_logits.unsqueeze(-1) + log_scores, 0)

    @property
    def _chunk(self) -> int:
        largest = max(weight.numel() for weight in (*self.weights, self.input_mixture) if weight is not None)
        return max(1, _NUMBERS_IN_FLIGHT // largest)


class CircuitDistribution(UnnormalizedDistribution):
    """The distribution of a circuit: event shape ``(D,)``, batch shape ``()`` unless expanded.

    NaN (or a negative code of a discrete variable in integer data) marks a missing value, which is integrated out
    exactly: ``log p(x_observed) = log E - log Z``; a row with nothing observed has log-probability 0. ``-inf`` is the
    true value outside the support. The normaliser is computed once, in float64 where no gradient is asked for.

    Under ``torch.func.vmap`` and in compiled code Python cannot branch on values: rows with missing values, and the
    rare rows whose scaled arithmetic would underflow, come out as NaN there.
    """

    def __init__(self, state: CircuitState) -> None:
        self._state = state
        self._log_z: Tensor | None = None
        super().__init__(torch.Size(), torch.Size((len(state.families),)), validate_args=False)

    def __repr__(self) -> str:
        kind = "squared" if self._state.squared else "monotonic"
        return f"CircuitDistribution({kind}, batch_shape: {self.batch_shape}, event_shape: {self.event_shape})"

    @property
    def support(self) -> constraints.Constraint:
        """Real vectors, or integer codes if every variable has the same number of states."""
        states = {family.states for family in self._state.families}
        if states == {None} or len(states) > 1:
            return constraints.real_vector
        return constraints.independent(constraints.integer_interval(0, max(s or 0 for s in states) - 1), 1)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """``log sum_r a_r c_r(x)^2``, or without the square, in nats; missing values integrated out."""
        return self._log_score(value).to(self._dtype)

    @property
    def log_partition(self) -> Tensor:
        """``log Z`` in nats, exact."""
        return self._log_partition().to(self._dtype).expand(self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Exact log-density in nats, by counting measure for discrete variables; the difference is taken in float64."""
        return (self._log_score(value) - self._log_partition()).to(self._dtype)

    def marginal(self, variables: Sequence[int]) -> Marginal:
        """The exact distribution of some of the variables, in the given order.

        Raises:
            ValueError: if a variable is repeated or out of range.
        """
        return Marginal(self, variables)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Not offered yet."""
        raise IntractableError(
            "circuits have no sampler in this version; log_prob, marginal and log_partition are exact"
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> CircuitDistribution:
        """The same distribution with a batch shape; it shares the normaliser."""
        wide = copy.copy(self)
        wide._batch_shape = torch.Size(batch_shape)
        return wide

    @property
    def _dtype(self) -> torch.dtype:
        return self._state.tensors[0].dtype

    def _log_partition(self) -> Tensor:
        trained = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in self._state.tensors)
        if self._log_z is None or (trained and not self._log_z.requires_grad):
            self._log_z = _log_partition(self._state if trained else self._state.to(torch.float64))
        return self._log_z

    def _missing(self, x: Tensor) -> Tensor:
        """Where ``x`` ``(B, D)`` says nothing: NaN, or a negative integer code of a discrete variable."""
        if x.is_floating_point():
            return x.isnan()
        discrete = torch.tensor([family.states is not None for family in self._state.families], device=x.device)
        return (x < 0) & discrete

    def _log_score(self, value: Tensor) -> Tensor:
        """In the dtype of the log-scales, ``sample_shape + batch_shape``."""
        _check_value(value, self._state.families)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        x = value.reshape(-1, value.shape[-1])
        missing = self._missing(x)
        x = x.to(self._dtype).T  # (D, B)
        if is_traced(missing):
            log_score = _log_score(self._state, x.masked_fill(missing.T, 0.0), None)
            log_score = log_score.masked_fill(missing.any(-1), torch.nan)
        else:
            log_score = _log_score(self._state, x, missing.T if bool(missing.any()) else None)
        return log_score.reshape(value.shape[:-1]).expand(shape)


class Marginal(UnnormalizedDistribution):
    """The distribution of some variables of a circuit, the others integrated out exactly.

    Args:
        joint: the distribution of all variables.
        variables: which ones, in the order of the marginal's columns.
    """

    def __init__(self, joint: CircuitDistribution, variables: Sequence[int]) -> None:
        total = joint.event_shape[0]
        if len(set(variables)) != len(variables) or not all(0 <= v < total for v in variables):
            raise ValueError(f"variables must be distinct numbers in 0..{total - 1}, got {list(variables)}")
        self.joint = joint
        self.variables = tuple(variables)
        super().__init__(joint.batch_shape, torch.Size((len(self.variables),)), validate_args=False)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """Log of the integral over the other variables, in nats."""
        return self.joint.unnormalized_log_prob(self._complete(value))

    @property
    def log_partition(self) -> Tensor:
        """That of the joint distribution."""
        return self.joint.log_partition

    def log_prob(self, value: Tensor) -> Tensor:
        """Exact marginal log-density in nats."""
        return self.joint.log_prob(self._complete(value))

    def _complete(self, value: Tensor) -> Tensor:
        if value.shape[-1] != len(self.variables):
            raise ValueError(f"expected {len(self.variables)} variables, got a value of shape {tuple(value.shape)}")
        fill = torch.nan if value.is_floating_point() else -1
        complete = value.new_full((*value.shape[:-1], *self.joint.event_shape), fill)
        complete[..., list(self.variables)] = value
        return complete


def _log_score(state: CircuitState, x: Tensor, missing: Tensor | None) -> Tensor:
    """Log of the unnormalised density of the observed variables, ``(B,)`` for ``x`` of shape ``(D, B)``."""
    if not state.squared:
        return state.mix(state.log_values(x, missing))
    if missing is None:
        return state.mix(2 * state.log_values(x, None))
    partial = missing.any(0)
    whole_rows, partial_rows = (~partial).nonzero().squeeze(-1), partial.nonzero().squeeze(-1)
    whole = 2 * state.log_values(x[:, whole_rows], None)
    part = state.log_squares(x[:, partial_rows], missing[:, partial_rows])
    both = torch.cat([whole, part], dim=1)
    return state.mix(both[:, torch.cat([whole_rows, partial_rows]).argsort()])


def _log_partition(state: CircuitState) -> Tensor:
    """Nothing observed: one row in which every variable is missing."""
    nothing = state.tensors[0].new_zeros(len(state.families), 1)
    missing = torch.ones_like(nothing, dtype=torch.bool)
    integrals = state.log_squares(nothing, missing) if state.squared else state.log_values(nothing, missing)
    return state.mix(integrals).squeeze(0)


def _check_value(value: Tensor, families: Sequence[InputFamily]) -> None:
    if value.dim() == 0 or value.shape[-1] != len(families):
        raise ValueError(f"expected a value of shape (..., {len(families)}), got {tuple(value.shape)}")
    states = [family.states for family in families]
    if states.count(None) == len(states):
        return
    limit = torch.tensor([torch.inf if s is None else s - 1 for s in states], device=value.device)
    bad = value > limit
    if value.is_floating_point():
        discrete = limit < torch.inf
        bad = bad | (discrete & ((value < 0) | (value != value.floor()))) & ~value.isnan()
    if decide(bad.any()):
        place = tuple(int(i) for i in bad.nonzero()[0])
        raise ValueError(
            f"expected integer codes 0..{int(limit[place[-1]])} of variable {place[-1]}, "
            f"got {value[place].item()} at {place}"
        )
