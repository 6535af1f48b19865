"""The self-normalizing linear layer: an invertible ``nn.Linear`` that trains without a determinant."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from logprob.flows.base import DEFAULT_OPTIONS, Energy, InverseMethod, Surrogate, SurrogateOptions, check_method
from logprob.flows.inverse_weight import InverseWeightLayer, check_name
from logprob.flows.precision import at_least_float32
from logprob.flows.refinement import refine
from logprob.flows.self_normalizing import relative_linear, self_normalizing_linear

LogDet = Literal["self-normalizing", "resync", "exact", "relative", "constant"]
Start = Literal["identity", "orthogonal", "identity-noise"]


class SelfNormalizingLinear(InverseWeightLayer):
    """``z = W x + b`` with a learned inverse ``R`` beside ``W``; ``ladj = log|det W|``.

    ``layer(x)`` is exact and costs O(D^3). Training calls :meth:`surrogate`, where the gradient of the
    log-determinant comes as ``log_det`` says, at O(D^2) an example::

        z, ladj, energies = layer.surrogate(x)
        loss = -(base.log_prob(z) + ladj).mean() + sum(energy.value for energy in energies)

    ========================  ============================================================================
    ``log_det``               gradient of ``log|det W|`` with respect to ``W`` in the surrogate
    ========================  ============================================================================
    ``"self-normalizing"``    ``R^T``; R is trained, and best synchronised every 10 to 20 steps
    ``"resync"``              ``R^T``; R is no parameter, and must be synchronised every 10 to 20 steps
    ``"exact"``               ``W^-T``; no R is kept
    ``"relative"``            that of data and log-determinant, times ``W^T W`` from the right; no R is kept
    ``"constant"``            zero, for objectives that know no normaliser (score matching); no R is kept
    ========================  ============================================================================

    Args:
        features: number D of inputs and outputs.
        log_det: the gradient, as above. It can be set again later, before the optimizer is made.
        bias: whether ``b`` is there. It starts at ``N(0, s^2)``, s the standard deviation of the entries of W.
        init: start of W. ``"identity"``; ``"orthogonal"``: random; ``"identity-noise"``: the identity and
            normal noise of standard deviation ``0.1 / sqrt(D)``. R starts as the inverse of W.

    Attributes:
        weight: ``W``, ``(D, D)``.
        inverse_weight: ``R``, ``(D, D)``: a parameter, a buffer, or None, as the mode wants.
        bias: ``(D,)`` or None.
        cached_log_det: ``log|det W|`` at the last :meth:`synchronize`, a scalar buffer.

    Raises:
        ValueError: for an unknown name, a size below one, or an input of another width.

    Source: Keller et al., "Self Normalizing Flows", ICML 2021.

    Example:
        >>> import torch
        >>> layer = SelfNormalizingLinear(3)
        >>> x = torch.randn(5, 3)
        >>> z, ladj = layer(x)
        >>> z.shape, ladj.shape, torch.allclose(layer.inverse(z), x, atol=1e-5)
        (torch.Size([5, 3]), torch.Size([5]), True)
        >>> z, ladj, energies = layer.surrogate(x)
        >>> ((z**2 / 2).sum(1) - ladj).mean().add(energies[0].value).backward()
        >>> layer.weight.grad.shape, layer.inverse_weight.grad.shape
        (torch.Size([3, 3]), torch.Size([3, 3]))
    """

    def __init__(
        self,
        features: int,
        log_det: LogDet = "self-normalizing",
        bias: bool = True,
        init: Start = "identity",
    ) -> None:
        super().__init__()
        self._check_log_det(log_det)
        if features < 1:
            raise ValueError(f"features must be at least 1, got {features}")
        self.features = features
        weight, inverse = _start(features, init)
        self.weight = nn.Parameter(weight)
        self._log_det = log_det
        self._hold_inverse(inverse)
        deviation = 0.0 if features == 1 else weight.std(correction=0).item()
        self.bias = nn.Parameter(deviation * torch.randn(features)) if bias else None
        self.register_buffer("cached_log_det", torch.linalg.slogdet(weight)[1])

    def extra_repr(self) -> str:
        """Size and mode."""
        return f"{self.features}, log_det={self.log_det!r}, bias={self.bias is not None}"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact ``(W x + b, log|det W|)`` of rows ``(B, D)``; O(D^3) a call."""
        self._check(x)
        return F.linear(x, self.weight, self.bias), _log_det(self.weight).expand(len(x))

    def surrogate(
        self, x: Tensor, context: Tensor | None = None, options: SurrogateOptions = DEFAULT_OPTIONS
    ) -> Surrogate:
        """Exact output; a log-determinant of which only the gradient means anything; the energy of R."""
        if self.log_det == "exact":
            return Surrogate(*self(x))
        self._check(x)
        value = self._value(options)
        if self.log_det == "constant":
            return Surrogate(F.linear(x, self.weight, self.bias), value.expand(len(x)))
        if self.log_det == "relative":
            z, ladj, _ = relative_linear(x, self.weight, self.bias, value)
            return Surrogate(z, ladj.expand(len(x)))
        inverse, options = self._require_inverse(), self._without_penalty(options)
        z, ladj, energy = self_normalizing_linear(x, self.weight, inverse, self.bias, options, value)
        energies = () if energy is None else (Energy(energy, self.features),)
        return Surrogate(z, ladj.expand(len(x)), energies)

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """``W^-1 (z - b)`` by LU, or ``R (z - b)``, or the latter refined until it is exact."""
        check_method(method)
        self._check(z)
        shifted = z if self.bias is None else z - self.bias
        if method == "exact":
            return self._solve(shifted)
        inverse = self._require_inverse()
        if method == "approximate":
            return F.linear(shifted, inverse)
        return refine(shifted, lambda x: F.linear(x, self.weight), lambda r: F.linear(r, inverse), self._solve)

    @torch.no_grad()
    def synchronize(self) -> None:
        """Set ``R = W^-1`` by one LU factorisation, and ``cached_log_det``; O(D^3).

        Raises:
            RuntimeError: if W is singular.
        """
        factors, pivots = torch.linalg.lu_factor(at_least_float32(self.weight))
        self.cached_log_det.copy_(factors.diagonal().abs().log().sum())
        identity = torch.eye(self.features, dtype=factors.dtype, device=factors.device)
        self._set_inverse(torch.linalg.lu_solve(factors, pivots, identity))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, ``(features,)``."""
        if tuple(shape) != (self.features,):
            raise ValueError(f"expected events of shape ({self.features},), got {tuple(shape)}")
        return shape

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, ``(features,)``."""
        return self.output_shape(shape)

    def _check_log_det(self, name: str) -> None:
        check_name(name, get_args(LogDet))

    def _best_inverse(self) -> Tensor:
        return torch.linalg.inv(at_least_float32(self.weight.detach())).to(self.weight.dtype)

    def _solve(self, shifted: Tensor) -> Tensor:
        return torch.linalg.solve(at_least_float32(self.weight), at_least_float32(shifted).T).T.to(shifted.dtype)

    def _value(self, options: SurrogateOptions) -> Tensor:
        if options.value == "cached":
            return self.cached_log_det.clone()
        if options.value == "exact":
            return _log_det(self.weight.detach())
        return torch.zeros((), dtype=self.weight.dtype, device=self.weight.device)

    def _check(self, x: Tensor) -> None:
        if x.dim() != 2 or x.shape[1] != self.features:
            raise ValueError(f"expected rows of shape (B, {self.features}), got {tuple(x.shape)}")


def _log_det(weight: Tensor) -> Tensor:
    return torch.linalg.slogdet(at_least_float32(weight))[1].to(weight.dtype)


def _start(features: int, init: Start) -> tuple[Tensor, Tensor]:
    """A start of W, and its inverse."""
    identity = torch.eye(features)
    if init == "identity":
        return identity, identity.clone()
    if init == "orthogonal":
        weight = nn.init.orthogonal_(torch.empty(features, features))
        return weight, weight.T.clone()
    if init == "identity-noise":
        weight = identity + torch.randn(features, features) * (0.1 / math.sqrt(features))
        return weight, torch.linalg.inv(weight)
    raise ValueError(f"init must be identity, orthogonal or identity-noise, got {init!r}")
