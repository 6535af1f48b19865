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
        log_values = self._log_values_scaled(x, missing)
        redo = log_values.isnan().any(0)
        if not decide(redo.any()):
            return log_values
        # The sound rows once more by themselves: through the others the backward pass could bring in NaN.
        sound, lost = (~redo).nonzero().squeeze(-1), redo.nonzero().squeeze(-1)
        parts = [self._log_values_scaled(*_columns(x, missing, sound))]
        for rows in lost.split(self._chunk):
            leaves = self.leaves.signed_log(*_columns(x, missing, rows))
            parts.append(signed_log.log_magnitude(self.roots(signed_log, leaves)).to(log_values.dtype))
        return torch.cat(parts, 1)[:, torch.cat([sound, lost]).argsort()]

    def _log_values_scaled(self, x: Tensor, missing: Tensor | None) -> Tensor:
        """NaN where scaled arithmetic may not be trusted."""
        return scaled.log_magnitude(self.roots(scaled, self.leaves.scaled(x, missing)))

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
        total = self.repetition_logits.unsqueeze(-1) + log_scores
        empty = (total == -torch.inf).all(0)  # there logsumexp has no gradient but NaN
        return torch.logsumexp(total.masked_fill(empty, 0.0), 0).masked_fill(empty, -torch.inf)

    @property
    def _chunk(self) -> int:
        units = max(weight.shape[-1] for weight in (*self.weights, self.input_mixture) if weight is not None)
        matrices = sum(len(group.variables) for group in self.leaves.groups) * units**2
        weights = max(weight.numel() for weight in (*self.weights, self.input_mixture) if weight is not None)
        return max(1, _NUMBERS_IN_FLIGHT // max(matrices, weights))


class CircuitDistribution(UnnormalizedDistribution):
    """The distribution of a circuit: event shape ``(D,)``, batch shape ``()`` unless expanded.

    NaN (or a negative code of a discrete variable in integer data) marks a missing value, which is integrated out
    exactly: ``log p(x_observed) = log E - log Z``; a row with nothing observed has log-probability 0. ``-inf`` is the
    true value outside the support. The normaliser is computed once, in float64 where no gradient is asked for.

    Under ``torch.func.vmap`` and in compiled code Python cannot branch on values: rows with missing values, and the
    rare rows whose scaled arithmetic would underflow, come out as NaN there, and so do marginals.
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
        if self._log_z is None or (self._trained and not self._log_z.requires_grad):
            with torch.autocast(self._state.tensors[0].device.type, enabled=False):
                self._log_z = _log_partition(self._exact_state)
                if not decide(self._log_z.isfinite()):  # units that cancel: beyond the precision of the parameters
                    self._log_z = _log_partition(self._state.to(torch.float64))
        return self._log_z

    @property
    def _trained(self) -> bool:
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in self._state.tensors)

    @property
    def _exact_state(self) -> CircuitState:
        """In float64 where no gradient is asked for: for sums of matrices, in which units may cancel."""
        return self._state if self._trained else self._state.to(torch.float64)

    def _missing(self, x: Tensor) -> Tensor:
        """Where ``x`` ``(B, D)`` says nothing: NaN, or a negative integer code of a discrete variable."""
        if x.is_floating_point():
            return x.isnan()
        discrete = torch.tensor([family.states is not None for family in self._state.families], device=x.device)
        return (x < 0) & discrete

    def _log_score(self, value: Tensor) -> Tensor:
        """In the dtype of the log-scales, ``sample_shape + batch_shape``."""
        families = self._state.families
        if value.dim() == 0 or value.shape[-1] != len(families):
            raise ValueError(f"expected a value of shape (..., {len(families)}), got {tuple(value.shape)}")
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        rows = value.reshape(-1, value.shape[-1])
        missing, wrong = self._missing(rows), _wrong_codes(rows, families)
        x = rows.to(self._dtype).T  # (D, B)
        with torch.autocast(rows.device.type, enabled=False):
            if is_traced(missing):
                unknown = missing if wrong is None else missing | wrong
                log_score = _log_score(self._state, self._state, x.masked_fill(unknown.T, 0.0), None)
                log_score = log_score.masked_fill(unknown.any(-1), torch.nan)
            else:
                _refuse_codes(rows, wrong, families)
                holes = missing.T if bool(missing.any()) else None
                exact = self._state if holes is None else self._exact_state
                log_score = _log_score(self._state, exact, x, holes)
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
        value = value if value.is_floating_point() else value.double()  # NaN is missing, whatever the family
        complete = value.new_full((*value.shape[:-1], *self.joint.event_shape), torch.nan)
        complete[..., list(self.variables)] = value
        return complete


def _log_score(state: CircuitState, exact: CircuitState, x: Tensor, missing: Tensor | None) -> Tensor:
    """Log of the unnormalised density of the observed variables, ``(B,)`` for ``x`` of shape ``(D, B)``.

    ``exact`` is the state for rows with missing values, whose integrals may cancel.
    """
    if not state.squared:
        return state.mix(state.log_values(x, missing))
    if missing is None:
        return state.mix(2 * state.log_values(x, None))
    partial = missing.any(0)
    whole_rows, partial_rows = (~partial).nonzero().squeeze(-1), partial.nonzero().squeeze(-1)
    whole = state.mix(2 * state.log_values(x[:, whole_rows], None))
    part = exact.mix(exact.log_squares(x[:, partial_rows].to(exact.tensors[0].dtype), missing[:, partial_rows]))
    return torch.cat([whole, part])[torch.cat([whole_rows, partial_rows]).argsort()]


def _log_partition(state: CircuitState) -> Tensor:
    """Nothing observed: one row in which every variable is missing."""
    nothing = state.tensors[0].new_zeros(len(state.families), 1)
    missing = torch.ones_like(nothing, dtype=torch.bool)
    integrals = state.log_squares(nothing, missing) if state.squared else state.log_values(nothing, missing)
    return state.mix(integrals).squeeze(0)


def _columns(x: Tensor, missing: Tensor | None, rows: Tensor) -> tuple[Tensor, Tensor | None]:
    return x[:, rows], None if missing is None else missing[:, rows]


def _limits(families: Sequence[InputFamily], device: torch.device) -> Tensor:
    return torch.tensor([torch.inf if f.states is None else f.states - 1 for f in families], device=device)


def _wrong_codes(rows: Tensor, families: Sequence[InputFamily]) -> Tensor | None:
    """Where a discrete variable has a value that is no state of it and does not mean missing."""
    if all(family.states is None for family in families):
        return None
    limit = _limits(families, rows.device)
    wrong = rows > limit
    if rows.is_floating_point():
        wrong = wrong | ((limit < torch.inf) & ((rows < 0) | (rows != rows.floor())) & ~rows.isnan())
    return wrong


def _refuse_codes(rows: Tensor, wrong: Tensor | None, families: Sequence[InputFamily]) -> None:
    if wrong is None or not bool(wrong.any()):
        return
    row, variable = (int(i) for i in wrong.nonzero()[0])
    last = int(_limits(families, rows.device)[variable])
    raise ValueError(
        f"expected integer codes 0..{last} of variable {variable}, got {rows[row, variable].item()} in row {row}"
    )
