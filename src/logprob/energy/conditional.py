"""A conditional energy: features of a row times free numbers of its condition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from logprob.distributions import DistributionModule, IntractableError, UnnormalizedDistribution
from logprob.energy.labels import check_labels, of_labels
from logprob.energy.rows import rows_of_copies, rows_of_scalars, width_of
from logprob.nn.stacked import copies_shape

Squares = Literal["tied", "free"]
LogNorm = Literal["shared", "per-condition"]


class ConditionalEnergy(DistributionModule):
    """``log p(x | y) = u(x, y) - log Z(y)``, ``u = sign * (f(x) . g_y + squares) + b(x) + c_y``, Z unknown.

    f is a network, g_y a free vector of each condition y. The squares are one of

    - none;
    - ``"tied"``: ``sum_i f_i^2 g_yi^2``;
    - ``"free"``: ``sum_i f_i^2 h_yi`` with numbers h_y of either sign.

    u is an unnormalised *log-probability*: larger is more probable. What compares rows of one condition, such as the
    score, is exact; for the normaliser train by contrast, which learns ``c_y = -log Z(y)``. f is identifiable only up
    to a linear map, or, with squares or positive features and under the conditions of the reference, up to order,
    scale and what labels cannot tell: of zero-mean sources whose variances change, f^2 is learned, its sign is not.

    Args:
        network: f, from rows ``(N, D)`` to ``(*copies, N, m)``.
        conditions: number K of conditions.
        features: number m of outputs of ``network``.
        squares: see above.
        positive: whether f and g pass a ReLU first. Squares are of what remains.
        base: b, a module from rows to ``(*copies, N, 1)`` or ``(*copies, N)``: what does not depend on y, such as a
            small network, or the log-density of a flow, which this model then tilts.
        log_norm: c; none, one number for all conditions, which starts from N(-5, 1), or one for each condition, from 0.
        sign: 1 or -1. For the plain head it only relabels f, not so with tied squares or positive features: there
            1 makes u grow with ``f_i^2`` (and ``f_i g_i``), -1 makes it fall. Sources of changing variance need -1, or
            free squares.
        linear: whether there is the term ``f . g``; without it the squares must be free.
        copies: number C of models trained side by side, of which ``network`` and ``base`` then hold as many; every
            parameter has a leading axis. None for no such axis.
        variables: D, only told to ``event_shape``; found from ``network`` where that says it, else unknown, -1.

    Shapes: labels ``(N,)`` int64 are the context; ``g``, parameter ``labels``, is ``(*copies, K, m)``.

    Raises:
        ValueError: for a number or a name out of its range; when called, for labels that are no integers from 0 to
            K - 1, one for each row.

    References:
        Khemakhem, Monti, Kingma and Hyvarinen, "ICE-BeeM: Identifiable Conditional Energy-Based Deep Models Based on
        Nonlinear ICA", NeurIPS 2020.

    Example:
        >>> from logprob.nn import MLP
        >>> model = ConditionalEnergy(MLP(5, 3), conditions=4, features=3, squares="free")
        >>> x, y = torch.randn(6, 5), torch.randint(4, (6,))
        >>> model(y).unnormalized_log_prob(x).shape, model(y).score(x).shape
        (torch.Size([6]), torch.Size([6, 5]))
        >>> model.features(x).shape, model.log_potentials(x).shape
        (torch.Size([6, 3]), torch.Size([6, 4]))
    """

    def __init__(
        self,
        network: nn.Module,
        conditions: int,
        features: int,
        *,
        squares: Squares | None = None,
        positive: bool = False,
        base: nn.Module | None = None,
        log_norm: LogNorm | None = None,
        sign: Literal[1, -1] = 1,
        linear: bool = True,
        copies: int | None = None,
        variables: int | None = None,
    ) -> None:
        super().__init__()
        _check(conditions, features, squares, log_norm, sign, linear)
        self.network, self.base = network, base
        self.conditions, self.outputs, self.copies = conditions, features, copies
        self.variables = width_of(network) if variables is None else variables
        self.squares, self.positive, self.log_norm, self.sign = squares, positive, log_norm, sign
        lead = copies_shape(copies)
        bound = 1 / math.sqrt(conditions)  # of a linear layer of one-hot labels
        table = torch.empty(*lead, conditions, features)
        self.labels = nn.Parameter(table.uniform_(-bound, bound)) if linear else None
        self.square_labels = nn.Parameter(0.1 * torch.randn(table.shape)) if squares == "free" else None
        self.offset = _offset(log_norm, lead, conditions)

    def extra_repr(self) -> str:
        """The head."""
        head = f"squares={self.squares!r}, positive={self.positive}, log_norm={self.log_norm!r}, sign={self.sign}"
        return f"conditions={self.conditions}, features={self.outputs}, {head}, copies={self.copies}"

    def forward(self, context: Tensor | None = None) -> ConditionalEnergyDistribution:
        """The distribution of rows with labels ``(N,)``; with copies also ``(C, N)``."""
        labels = check_labels(context, self.conditions, self.copies)
        linear, quadratic = self._coefficients(lambda table: of_labels(table, labels, self.copies))
        return ConditionalEnergyDistribution(self, linear, quadratic, self._offsets(labels), labels.shape[-1])

    def features(self, x: Tensor) -> Tensor:
        """f of rows, ``(*copies, N, m)``; not negative if ``positive``, as u does not depend on what is below zero."""
        values: Tensor = self.network(x)
        if values.shape[-1] != self.outputs:
            raise ValueError(f"expected {self.outputs} features from the network, got {values.shape[-1]}")
        return values.relu() if self.positive else values

    def coefficients(self) -> tuple[Tensor | None, Tensor | None]:
        """What multiplies f and f^2 in u, for every condition, ``(*copies, K, m)`` each, or None for no such term."""
        return self._coefficients(lambda table: table)

    def _coefficients(self, chosen: Callable[[Tensor], Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Those of what is chosen of each table; squares are taken last, so that a table is read once."""
        linear = None if self.labels is None else chosen(self.labels)
        if linear is not None and self.positive:
            linear = linear.relu()
        quadratic = None if self.square_labels is None else chosen(self.square_labels)
        if self.squares == "tied" and linear is not None:
            quadratic = linear.square()
        return _signed(linear, self.sign), _signed(quadratic, self.sign)

    def log_potentials(self, x: Tensor) -> Tensor:
        """``u(x, y)`` of rows and of every condition, in nats up to ``log Z(y)``, ``(*copies, N, K)``."""
        f = self.features(x)
        linear, quadratic = self.coefficients()
        parts = [] if linear is None else [f @ linear.mT]
        parts += [] if quadratic is None else [f.square() @ quadratic.mT]
        base = self.base_values(x, f)
        parts += [] if base is None else [base.unsqueeze(-1)]
        offset = self.offset
        if offset is not None:
            parts.append(offset[..., None, None] if self.log_norm == "shared" else offset.unsqueeze(-2))
        return sum(parts[1:], parts[0])

    def label_logits(self, x: Tensor, log_prior: Tensor | None = None) -> Tensor:
        """``log p(y | x)`` up to a constant of the row, ``(*copies, N, K)``.

        It is right as far as ``c_y`` is ``-log Z(y)``, which training by contrast makes it.

        Args:
            x: rows.
            log_prior: ``log p(y)``, ``(K,)``; uniform if omitted.

        Raises:
            IntractableError: without a log-norm for each condition.
        """
        if self.log_norm != "per-condition":
            raise IntractableError('p(y | x) needs Z(y) of each condition; use log_norm="per-condition" and contrast')
        potentials = self.log_potentials(x)
        return potentials if log_prior is None else potentials + log_prior

    def base_values(self, x: Tensor, features: Tensor) -> Tensor | None:
        """b of rows whose features are known, in a shape that broadcasts to ``(*copies, N)``; None without a base."""
        return None if self.base is None else rows_of_scalars(self.base(x), features)

    def _offsets(self, labels: Tensor) -> Tensor | None:
        if self.offset is None or self.log_norm == "per-condition":
            return None if self.offset is None else of_labels(self.offset, labels, self.copies)
        return self.offset.unsqueeze(-1)


class ConditionalEnergyDistribution(UnnormalizedDistribution):
    """The law of N rows, each with its condition; made by :class:`ConditionalEnergy`.

    Args:
        model: gives features and base.
        linear: coefficients of f of each row, ``(*copies, N, m)``, or None.
        quadratic: coefficients of ``f^2``, or None.
        offset: c of each row, broadcast to ``(*copies, N)``, or None.
        rows: N.
        batch_shape: ``(*copies, N)`` if omitted.
    """

    support = constraints.real_vector

    def __init__(
        self,
        model: ConditionalEnergy,
        linear: Tensor | None,
        quadratic: Tensor | None,
        offset: Tensor | None,
        rows: int,
        batch_shape: Any = None,
    ) -> None:
        self.model, self.linear, self.quadratic, self.offset, self.rows = model, linear, quadratic, offset, rows
        batch = (*copies_shape(model.copies), rows) if batch_shape is None else batch_shape
        super().__init__(torch.Size(batch), torch.Size((model.variables,)), validate_args=False)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """u of rows ``(N, D)``, the same for all copies, or ``(*copies, N, D)``; in nats, ``(*copies, N)``.

        Raises:
            ValueError: if there is not one row for each label.
        """
        if value.dim() < 2 or value.shape[-2] != self.rows:
            raise ValueError(f"expected {self.rows} rows, one for each label, got values {tuple(value.shape)}")
        f = self.model.features(value)
        slope = self.linear  # what f is multiplied by
        if self.quadratic is not None:
            slope = f * self.quadratic if slope is None else slope + f * self.quadratic
        assert slope is not None
        u = (f * slope).sum(-1)
        for term in (self.model.base_values(value, f), self.offset):
            u = u if term is None else u + term
        return u

    def score(self, value: Tensor) -> Tensor:
        """``grad_x u(x, y)``, ``(*copies, N, D)``; differentiable where gradients are enabled."""
        return super().score(rows_of_copies(value, self.model.copies))

    @property
    def log_partition(self) -> Tensor:
        """Raises :class:`IntractableError`: Z(y) is an integral over all rows."""
        raise IntractableError(
            "an energy has no log_partition in closed form; unnormalized_log_prob and score need none, and training by "
            'contrast with log_norm="per-condition" estimates it: c_y is -log Z(y)'
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> ConditionalEnergyDistribution:
        """The same law with more batch dimensions in front."""
        return ConditionalEnergyDistribution(
            self.model, self.linear, self.quadratic, self.offset, self.rows, torch.Size(batch_shape)
        )


def _signed(table: Tensor | None, sign: int) -> Tensor | None:
    return table if table is None or sign == 1 else -table


def _offset(log_norm: LogNorm | None, lead: tuple[int, ...], conditions: int) -> nn.Parameter | None:
    if log_norm is None:
        return None
    return nn.Parameter(torch.randn(lead) - 5 if log_norm == "shared" else torch.zeros(*lead, conditions))


def _check(conditions: int, features: int, squares: Any, log_norm: Any, sign: int, linear: bool) -> None:
    if conditions < 1 or features < 1:
        raise ValueError(f"expected at least 1 condition and 1 feature, got {conditions} and {features}")
    if squares not in (None, "tied", "free"):
        raise ValueError(f"squares must be None, 'tied' or 'free', got {squares!r}")
    if log_norm not in (None, "shared", "per-condition"):
        raise ValueError(f"log_norm must be None, 'shared' or 'per-condition', got {log_norm!r}")
    if sign not in (1, -1):
        raise ValueError(f"sign must be 1 or -1, got {sign}")
    if not linear and squares != "free":
        raise ValueError(f"without the linear term squares must be 'free', got {squares!r}")
