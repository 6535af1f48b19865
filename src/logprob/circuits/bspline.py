"""B-spline input units: flexible functions on an interval, with exact integrals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.circuits import gram, scaled, signed_log
from logprob.circuits.gram import Gram
from logprob.circuits.initializers import Initializer
from logprob.circuits.inputs import InputFamily, Tensors
from logprob.circuits.scaled import Scaled
from logprob.circuits.signed_log import SignedLog
from logprob.circuits.spline_basis import SplineBasis, spline_basis

_MARGIN = 0.05


@dataclass(frozen=True)
class BSpline(InputFamily):
    """Splines ``f_k(x) = sum_j coefficients[k, j] B_j(x)`` on clamped uniform knots.

    Zero outside the interval; both its ends belong to the support. A value costs ``order + 1`` terms whatever the
    number of functions. ``int f_i f_j = c_i^T G c_j`` with the exact banded Gram matrix of the basis.

    Args:
        functions: number of basis functions n, more than ``order``.
        order: degree of the pieces (2 is quadratic, with a continuous derivative).
        interval: ends ``(l, r)`` for every variable; None takes each variable's training range and 5 % of it on
            either side, when the circuit's ``initialize`` is called.

    Raises:
        ValueError: if ``functions <= order``, ``order < 0`` or the interval is empty.

    References:
        Loconte et al., "Subtractive Mixture Models via Squaring", ICLR 2024; de Boor, "A Practical Guide to Splines".
    """

    functions: int = 32
    order: int = 2
    interval: tuple[float, float] | None = None
    linear = ("coefficients",)
    _basis: SplineBasis = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.order < 0 or self.functions <= self.order:
            raise ValueError(f"expected functions > order >= 0, got functions={self.functions}, order={self.order}")
        if self.interval is not None:
            lower, upper = (float(end) for end in self.interval)
            if not -math.inf < lower < upper < math.inf:
                raise ValueError(f"expected a finite interval (l, r) with l < r, got {self.interval}")
            object.__setattr__(self, "interval", (lower, upper))
        # Not looked up when needed: compiled code cannot trace a cache.
        object.__setattr__(self, "_basis", spline_basis(self.functions, self.order))

    def parameters(self, slots: int, units: int, init: Initializer) -> dict[str, Tensor]:
        """``coefficients`` of shape ``(S, K, n)``."""
        return {"coefficients": init(slots, units, self.functions)}

    def buffers(self, slots: int) -> dict[str, Tensor]:
        """``lower`` and ``upper`` ends of the interval of each slot, NaN while unknown."""
        lower, upper = self.interval or (torch.nan, torch.nan)
        # In float64, so that the ends of a float64 circuit are the numbers that were given.
        return {
            name: torch.full((slots,), end, dtype=torch.float64) for name, end in (("lower", lower), ("upper", upper))
        }

    def fit_buffers(self, x: Tensor) -> dict[str, Tensor]:
        """The range of each row of ``x`` and a margin, unless the interval was given.

        Raises:
            ValueError: if a variable is constant, missing throughout or not finite.
        """
        if self.interval is not None:
            return {}
        missing = x.isnan()
        lower = x.masked_fill(missing, torch.inf).amin(-1)
        upper = x.masked_fill(missing, -torch.inf).amax(-1)
        margin = _MARGIN * (upper - lower)
        if not bool((margin > 0).all()) or not bool(margin.isfinite().all()):
            raise ValueError("every variable needs two different finite values to span a spline interval")
        return {"lower": lower - margin, "upper": upper + margin}

    def anywhere(self, theta: Tensors) -> Tensor:
        """The lower end of each slot's interval."""
        return theta["lower"].unsqueeze(-1)

    def values(self, theta: Tensors, x: Tensor) -> Scaled:
        """Values at ``x`` ``(S, B)``; exactly zero, so -inf in logarithms, outside the interval."""
        return scaled.rescale_support(self._evaluate(theta, x))

    def log_values(self, theta: Tensors, x: Tensor) -> SignedLog:
        """Signs and log-magnitudes at ``x``."""
        return signed_log.from_linear(
            self._evaluate({name: value.double() for name, value in theta.items()}, x.double())
        )

    def gram(self, theta: Tensors) -> Gram:
        """``C G C^T`` by the bands of G, in ``O(n q K + n K^2)``."""
        size = scaled.nonzero(theta["coefficients"].detach().abs().amax(-1, keepdim=True))  # (S, K, 1)
        coefficients = theta["coefficients"] / size
        bands = torch.from_numpy(self._basis.gram_bands).to(coefficients)
        weighted = coefficients * bands[0]
        for offset in range(1, self.order + 1):
            band = bands[offset, :-offset]
            weighted = weighted + F.pad(coefficients[..., :-offset] * band, (offset, 0))
            weighted = weighted + F.pad(coefficients[..., offset:] * band, (0, offset))
        log_units = size.mT.double().log() + _half_log_length(theta)  # (S, 1, K)
        return gram.from_matrix((weighted @ coefficients.mT).unsqueeze(1), log_units)

    def integral(self, theta: Tensors) -> Scaled:
        """``sum_j coefficients[k, j] int B_j``."""
        integrals = torch.from_numpy(self._basis.integrals).to(theta["coefficients"])
        values, log_scale = scaled.rescale_support((theta["coefficients"] @ integrals).unsqueeze(1))
        return Scaled(values, log_scale + 2 * _half_log_length(theta).squeeze(-1))

    def _evaluate(self, theta: Tensors, x: Tensor) -> Tensor:
        """``f_k(x)`` by the ``order + 1`` functions that live on the cell of ``x``: ``(S, B, K)``."""
        coefficients, lower, upper = theta["coefficients"], theta["lower"], theta["upper"]
        slots, units, functions = coefficients.shape
        cells = functions - self.order
        place = (x - lower.unsqueeze(-1)) / (upper - lower).unsqueeze(-1) * cells  # in units of cells
        cell = place.detach().clamp(0, cells - 1).long()  # the right end belongs to the last cell
        t = (place - cell).unsqueeze(-1)  # (S, B, 1), within the cell
        pieces = torch.from_numpy(self._basis.pieces).to(coefficients)[cell]  # (S, B, q+1, q+1)
        active = pieces[..., self.order]
        for power in reversed(range(self.order)):  # Horner's rule: derivatives of any order, at t = 0 too
            active = active * t + pieces[..., power]  # (S, B, q+1)
        inside = ((x >= lower.unsqueeze(-1)) & (x <= upper.unsqueeze(-1))).unsqueeze(-1)
        active = torch.where(inside, active, 0.0)
        rows = coefficients.mT.reshape(slots * functions, units)
        first = torch.arange(slots, device=x.device).unsqueeze(-1) * functions + cell
        return sum(
            (active[..., j, None] * F.embedding(first + j, rows) for j in range(1, self.order + 1)),
            active[..., 0, None] * F.embedding(first, rows),
        )


def _half_log_length(theta: Tensors) -> Tensor:
    """Half the log of the interval's length, ``(S, 1, 1)``: the change of variable from [0, 1]."""
    length = theta["upper"] - theta["lower"]
    return (length.double().log() / 2).reshape(-1, 1, 1)
