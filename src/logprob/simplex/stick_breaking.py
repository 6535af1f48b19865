"""Breaking a stick: real vectors to the lengths of K - 1 pieces of a stick of length 1, or to their logarithms."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from logprob.transforms import Transform


class _BelowSimplex(constraints.Constraint):
    """Vectors of positive numbers whose sum is below 1, both strictly."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value > 0).all(-1) & (value.sum(-1) < 1)

    def __repr__(self) -> str:
        return "BelowSimplex()"


below_simplex = _BelowSimplex()


class StickBreaking(Transform):
    """Lengths of the pieces of a stick, ``eta_k = v_k prod_{i<k} (1 - v_i)`` with ``v = sigmoid(y)``.

    The stick has length 1; piece k takes the fraction ``v_k`` of what is left. The K - 1 pieces are positive and their
    sum is below 1: the codomain is :data:`below_simplex`, not the real vectors. In exact arithmetic the inverse is
    ``y_k = log eta_k - log(1 - sum_{i<=k} eta_i)``; what rounding took from the remainder cannot come back, so keep
    ``y`` where you have it.

    Example:
        >>> import torch
        >>> f = StickBreaking()
        >>> f(torch.zeros(3))
        tensor([0.5000, 0.2500, 0.1250])
        >>> f.inv(torch.tensor([0.5, 0.25, 0.125]))
        tensor([0., 0., 0.])
    """

    domain = constraints.real_vector
    codomain = below_simplex

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The pieces, and ``sum_k log eta_k + log(1 - sum_k eta_k)``, formed from ``x`` without cancellation."""
        return self._call(x), self.log_abs_det_jacobian(x, x)

    def _call(self, x: Tensor) -> Tensor:
        pieces: Tensor = _Pieces.apply(x)
        return pieces

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Log of the determinant at ``x``, in nats; ``y`` is not needed."""
        # log(1 - v_i) is in the logarithm of every later piece, in that of the remainder and, with x_i, in log v_i.
        count = torch.arange(x.shape[-1] + 1, 1, -1, dtype=x.dtype, device=x.device)
        return (x - count * _softplus(x)).sum(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log() - left_over(y).log()

    def parameters(self) -> tuple[Any, ...]:
        """None."""
        return ()

    def with_cache(self, cache_size: int = 1) -> StickBreaking:
        """The same map with torch's one-entry cache switched on or off."""
        return self if cache_size == self._cache_size else StickBreaking(cache_size)


class LogStickBreaking(Transform):
    """Logarithms of the pieces of a stick over its remainder, ``l_k = log eta_k - log(1 - sum_i eta_i)``.

    With ``eta`` as in :class:`StickBreaking`, ``softmax(l_1, ..., l_{K-1}, 0)`` is ``(eta, remainder)``: at temperature
    1 softmax++ gives the pieces themselves, at temperature 0 the longest of all K, and the support is the whole
    simplex. It simplifies to ``l_k = y_k + sum_{i>k} log(1 + exp(y_i))``, whose Jacobian is unit triangular: the
    log-determinant is 0. The inverse is ``y_k = l_k - log(1 + sum_{i>k} exp(l_i))``.

    Example:
        >>> import torch
        >>> l, ladj = LogStickBreaking().call_and_ladj(torch.zeros(3))
        >>> torch.softmax(torch.cat([l, torch.zeros(1)]), -1), ladj
        (tensor([0.5000, 0.2500, 0.1250, 0.1250]), tensor(0.))
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithms, and zeros."""
        return self._call(x), self.log_abs_det_jacobian(x, x)

    def _call(self, x: Tensor) -> Tensor:
        ratios: Tensor = _LogRatios.apply(x)
        return ratios

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros_like(x[..., 0])

    def _inverse(self, y: Tensor) -> Tensor:
        ahead = torch.cat([torch.zeros_like(y[..., :1]), y[..., 1:].flip(-1)], -1)
        return y - ahead.logcumsumexp(-1).flip(-1)

    def parameters(self) -> tuple[Any, ...]:
        """None."""
        return ()

    def with_cache(self, cache_size: int = 1) -> LogStickBreaking:
        """The same map with torch's one-entry cache switched on or off."""
        return self if cache_size == self._cache_size else LogStickBreaking(cache_size)


def sticks(fractions: Tensor) -> Tensor:
    """Weights of K components from K - 1 fractions of what is left; the last weight is the remainder.

    Args:
        fractions: in [0, 1], shape ``(..., K-1)``.

    Returns:
        Weights, shape ``(..., K)``, with the sum 1.

    Example:
        >>> sticks(torch.tensor([0.5, 0.5]))
        tensor([0.5000, 0.2500, 0.2500])
    """
    rest = F.pad((1 - fractions).cumprod(-1), (1, 0), value=1.0)
    return rest * F.pad(fractions, (0, 1), value=1.0)


def log_sticks(log_fractions: Tensor, log_rests: Tensor) -> Tensor:
    """Logarithms of :func:`sticks`, exact where the weights underflow.

    Args:
        log_fractions: ``log v``, shape ``(..., K-1)``; of Gaussian sticks ``logsigmoid(y)``.
        log_rests: ``log(1 - v)``, same shape; of Gaussian sticks ``logsigmoid(-y)``.

    Returns:
        Log-weights, shape ``(..., K)``.

    Example:
        >>> y = torch.tensor([0.0, 0.0])
        >>> log_sticks(F.logsigmoid(y), F.logsigmoid(-y)).exp()
        tensor([0.5000, 0.2500, 0.2500])
    """
    return F.pad(log_rests.cumsum(-1), (1, 0)) + F.pad(log_fractions, (0, 1))


def left_over(pieces: Tensor) -> Tensor:
    """What is left of a stick of length 1 after each of its pieces, ``1 - sum_{i<=k} pieces_i``.

    Subtracting piece by piece keeps the digits of a small remainder, which ``1 - cumsum`` would lose.

    Example:
        >>> left_over(torch.tensor([0.5, 0.25]))
        tensor([0.5000, 0.2500])
    """
    return torch.cat([torch.ones_like(pieces[..., :1]), -pieces], -1).cumsum(-1)[..., 1:]


class _Pieces(torch.autograd.Function):
    """Pieces of a stick. With ``u = grad * eta`` the gradient is ``(1 - v_i) u_i - v_i sum_{k>i} u_k``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor) -> Tensor:
        # Products keep the relative precision of every piece, and underflow only where the piece does.
        pieces = torch.sigmoid(y)
        pieces[..., 1:] *= torch.sigmoid(-y[..., :-1]).cumprod(-1)
        return pieces

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        y, pieces = ctx.saved_tensors
        flow = grad * pieces
        return torch.sigmoid(-y) * flow - torch.sigmoid(y) * _sum_after(flow)


class _LogRatios(torch.autograd.Function):
    """``y_k + sum_{i>k} softplus(y_i)``, whose gradient is ``grad_i + v_i sum_{k<i} grad_k``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor) -> Tensor:
        return y + _sum_after(_softplus(y))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return grad + torch.sigmoid(y) * F.pad(grad[..., :-1].cumsum(-1), (1, 0))


def _sum_after(x: Tensor) -> Tensor:
    """``sum_{k>i} x_k`` at every i. Subtracting from the total would leave rounding where the sum is small."""
    return F.pad(x[..., 1:].flip(-1).cumsum(-1).flip(-1), (0, 1))


def _softplus(x: Tensor) -> Tensor:
    return F.softplus(x, threshold=40)  # torch's own threshold of 20 is 2e-9 off
