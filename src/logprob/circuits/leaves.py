"""The input regions of a circuit: which family stands where, its parameters, and their states in each algebra."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from logprob.circuits import gram, scaled, signed_log
from logprob.circuits.gram import Gram
from logprob.circuits.initializers import Initializer
from logprob.circuits.inputs import InputFamily, Tensors
from logprob.circuits.layers import Algebra
from logprob.circuits.region_graph import Scope
from logprob.circuits.scaled import Scaled, decide
from logprob.circuits.signed_log import SignedLog


class Pairing(NamedTuple):
    """One round of products: slots ``first`` times slots ``second``, then the slots ``rest`` unchanged."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    rest: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """The slots of one family; a slot is one variable of one input region."""

    family: InputFamily
    variables: Tensor
    theta: Tensors

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        return next(iter(self.theta.values())).dtype


@dataclass(frozen=True)
class Leaves:
    """All input units of a circuit, with their parameters at one moment.

    Args:
        groups: one entry for each family.
        order: permutation that takes the concatenated groups to the slots, or None.
        rounds: products that take the slots of a region to one state; none if every region has one variable.
    """

    groups: tuple[Group, ...]
    order: tuple[int, ...] | None
    rounds: tuple[Pairing, ...]

    def scaled(self, x: Tensor, missing: Tensor | None) -> Scaled:
        """Values of the input regions at ``x`` of shape ``(D, B)``, the integral where ``missing``: ``(L, B, K)``."""
        if self.rounds:  # products of many functions are sums of logarithms: they leave any scale
            return signed_log.to_scaled(self.signed_log(x, missing), self.groups[0].dtype)
        return self._collect(scaled, _values, _integral, x, missing)

    def signed_log(self, x: Tensor, missing: Tensor | None) -> SignedLog:
        """As :meth:`scaled`, as signed logarithms."""
        return self._collect(signed_log, _log_values, _log_integral, x, missing)

    def evidence(self, x: Tensor, missing: Tensor) -> Gram:
        """``f f^T`` where a variable is observed, its Gram matrix where ``missing``: ``(L, B, K, K)``."""
        return self._collect(gram, _outer, _gram, x, missing)

    def to(self, dtype: torch.dtype) -> Leaves:
        """The same units with parameters of another precision."""
        groups = (
            Group(group.family, group.variables, {name: value.to(dtype) for name, value in group.theta.items()})
            for group in self.groups
        )
        return Leaves(tuple(groups), self.order, self.rounds)

    def _collect(
        self,
        algebra: Algebra,
        seen: Callable[[Group, Tensor], Any],
        whole: Callable[[Group], Any],
        x: Tensor,
        missing: Tensor | None,
    ) -> Any:
        parts = []
        for group in self.groups:
            cells = x[group.variables]  # (S, B)
            if missing is None:
                parts.append(seen(group, cells))
                continue
            hidden = missing[group.variables]
            cells = torch.where(hidden, group.family.anywhere(group.theta), cells)
            parts.append(_choose(hidden, whole(group), seen(group, cells)))
        return self._merge(algebra, parts)

    def _merge(self, algebra: Algebra, parts: Sequence[Any]) -> Any:
        """Concatenate the groups, bring the slots into order, multiply the slots of each region."""
        state = parts[0]
        if len(parts) > 1:
            state = type(state)(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        if self.order is not None:
            state = _take(state, self.order)
        for first, second, rest in self.rounds:
            paired = algebra.product(_take(state, first), _take(state, second))
            kept = _take(state, rest)
            state = type(state)(*(torch.cat(tensors) for tensors in zip(paired, kept, strict=True)))
        return state


class LeafUnits(nn.Module):
    """The parameters of all input units.

    Args:
        families: the family of each variable.
        scopes: the variables of each input region.
        units: units K.
        positive: whether parameters in which a unit is linear are stored as logarithms.
        init: law of the initial linear parameters.
    """

    def __init__(
        self,
        families: Sequence[InputFamily],
        scopes: Sequence[Scope],
        units: int,
        positive: bool,
        init: Initializer,
    ) -> None:
        super().__init__()
        slots = [variable for scope in scopes for variable in scope]
        self.families = tuple(dict.fromkeys(families))
        self.positive = positive
        members = [[s for s, v in enumerate(slots) if families[v] == family] for family in self.families]
        position = {slot: place for place, slot in enumerate(itertools.chain(*members))}
        order = tuple(position[slot] for slot in range(len(slots)))
        self.order = None if order == tuple(range(len(slots))) else order
        self.rounds = _pairings([len(scope) for scope in scopes])
        self.groups = nn.ModuleList()
        for family, mine in zip(self.families, members, strict=True):
            group = nn.Module()
            group.register_buffer("variables", torch.tensor([slots[s] for s in mine]), persistent=False)
            for name, value in family.parameters(len(mine), units, init).items():
                free = value.log() if positive and name in family.linear else value
                group.register_parameter(name, nn.Parameter(free))
            for name, value in family.buffers(len(mine)).items():
                group.register_buffer(name, value)
            self.groups.append(group)

    def fit_buffers(self, x: Tensor) -> None:
        """Set the constants of the families, such as spline intervals, from training rows ``(N, D)``."""
        for family, group in zip(self.families, self.groups, strict=True):
            rows = x.to(_precision(group)).T[_variables(group)]
            for name, value in family.fit_buffers(rows).items():
                group.get_buffer(name).copy_(value)

    def extra_repr(self) -> str:
        """One line for ``print(model)``."""
        return ", ".join(str(family) for family in self.families)

    def forward(self) -> Leaves:
        """The input units at this moment; the tensors are copies, so later steps of an optimiser do not reach them."""
        groups = []
        for family, group in zip(self.families, self.groups, strict=True):
            _check_ready(family, group)
            constants = (item for item in group.named_buffers() if item[0] != "variables")
            theta = {name: value.to(_precision(group), copy=True) for name, value in constants}
            for name, value in group.named_parameters():
                theta[name] = value.exp() if self.positive and name in family.linear else value.clone()
            groups.append(Group(family, _variables(group), theta))
        return Leaves(tuple(groups), self.order, self.rounds)


def _variables(group: nn.Module) -> Tensor:
    return group.get_buffer("variables")


def _precision(group: nn.Module) -> torch.dtype:
    return next(group.parameters()).dtype


def _check_ready(family: InputFamily, group: nn.Module) -> None:
    for name, value in group.named_buffers():
        if value.is_floating_point() and decide(value.isnan().any()):
            raise RuntimeError(
                f"{family} takes {name!r} from the data: call initialize(training_rows) on the circuit first"
            )


def _values(group: Group, cells: Tensor) -> Scaled:
    return group.family.values(group.theta, cells)


def _integral(group: Group) -> Scaled:
    return group.family.integral(group.theta)


def _gram(group: Group) -> Gram:
    return group.family.gram(group.theta)


def _log_values(group: Group, cells: Tensor) -> SignedLog:
    return group.family.log_values(group.theta, cells)


def _log_integral(group: Group) -> SignedLog:
    values, log_scale = group.family.integral(group.theta)
    log_abs, unit = signed_log.from_linear(values)
    return SignedLog(log_abs + log_scale.unsqueeze(-1), unit)


def _outer(group: Group, cells: Tensor) -> Gram:
    return gram.from_vector(_log_values(group, cells), group.dtype)


def _choose(condition: Tensor, yes: Any, no: Any) -> Any:
    """Where ``condition`` ``(S, B)`` holds, one state, else the other."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(condition.reshape(condition.shape + (1,) * (b.dim() - 2)), a, b)

    return type(no)(*(pick(a, b) for a, b in zip(yes, no, strict=True)))


def _take(state: Any, index: Sequence[int]) -> Any:
    place = torch.tensor(index, dtype=torch.long, device=state[0].device)
    return type(state)(*(part.index_select(0, place) for part in state))


def _pairings(sizes: Sequence[int]) -> tuple[Pairing, ...]:
    """Rounds of products that take regions of ``sizes`` slots each to one, in the order of the regions."""
    held: list[list[int]] = []
    for size in sizes:
        start = sum(len(slots) for slots in held)
        held.append(list(range(start, start + size)))
    rounds = []
    for _ in range(math.ceil(math.log2(max(sizes)))):
        pairs = [(slots[2 * i], slots[2 * i + 1]) for slots in held for i in range(len(slots) // 2)]
        rest = [slots[-1] for slots in held if len(slots) % 2]
        rounds.append(Pairing(tuple(a for a, _ in pairs), tuple(b for _, b in pairs), tuple(rest)))
        place = {pair: i for i, pair in enumerate(pairs)} | {slot: len(pairs) + i for i, slot in enumerate(rest)}
        held = [
            [place[slots[2 * i], slots[2 * i + 1]] for i in range(len(slots) // 2)]
            + [place[slot] for slot in slots[len(slots) // 2 * 2 :]]
            for slots in held
        ]
    final = [slots[0] for slots in held]
    if final != list(range(len(final))):
        rounds.append(Pairing((), (), tuple(final)))
    return tuple(rounds)
