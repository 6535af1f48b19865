"""Softmax++, a softmax with one extra constant score, and a Gaussian sample through it, with short backward passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_SLOW_BELOW = {torch.float32: 16, torch.float64: 64}
"""``torch.softmax`` on a CPU leaves its vector code in shorter rows: 20 ms for 1.2 million numbers in rows of 10, where
the three steps composed take 4. Measured with torch 2.13; above, torch's own is the faster one."""


def softmax(x: Tensor) -> Tensor:
    """Softmax over the last dimension, by whichever of torch's and a composed one is faster; the same numbers.

    Example:
        >>> import torch
        >>> softmax(torch.zeros(2))
        tensor([0.5000, 0.5000])
    """
    return _Softmax.apply(x) if _slow(x) else torch.softmax(x, -1)


def log_softmax(x: Tensor) -> Tensor:
    """Logarithm of :func:`softmax`, without underflow.

    Example:
        >>> import torch
        >>> log_softmax(torch.tensor([0.0, 1000.0]))
        tensor([-1000.,     0.])
    """
    return _LogSoftmax.apply(x) if _slow(x) else torch.log_softmax(x, -1)


def softmax_plus_plus(scores: Tensor, temperature: Tensor, log_delta: Tensor) -> Tensor:
    """``psi = softmax(scores_1 / temperature, ..., scores_{K-1} / temperature, log_delta)``, an invertible map.

    The last entry is computed as the others are and not as one minus their sum, so nothing overflows or is lost.

    Args:
        scores: real, ``(..., K - 1)``.
        temperature: positive, broadcasts against ``(..., 1)``.
        log_delta: logarithm of the extra category's weight, broadcasts against ``(..., 1)``.

    Returns:
        Points of the simplex, ``(..., K)``.

    Example:
        >>> import torch
        >>> softmax_plus_plus(torch.zeros(2), torch.tensor(0.5), torch.tensor(0.0))
        tensor([0.3333, 0.3333, 0.3333])
    """
    return softmax(append_score(scores / temperature, log_delta))


def log_softmax_plus_plus(scores: Tensor, temperature: Tensor, log_delta: Tensor) -> Tensor:
    """Logarithm of :func:`softmax_plus_plus`, finite wherever the scores are.

    Example:
        >>> import torch
        >>> log_softmax_plus_plus(torch.tensor([5.0]), torch.tensor(0.01), torch.tensor(0.0))
        tensor([   0., -500.])
    """
    return log_softmax(append_score(scores / temperature, log_delta))


def append_score(scores: Tensor, last: Tensor) -> Tensor:
    """``(..., K - 1)`` scores and one that broadcasts against ``(..., 1)``, side by side: ``(..., K)``.

    Example:
        >>> import torch
        >>> append_score(torch.ones(2), torch.tensor(0.0))
        tensor([1., 1., 0.])
    """
    batch = torch.broadcast_shapes(scores.shape[:-1], last.shape[:-1])
    return torch.cat([scores.expand(*batch, -1), last.to(scores.dtype).expand(*batch, 1)], -1)


def gaussian_softmax(loc: Tensor, scale: Tensor, noise: Tensor, temperature: Tensor, log_delta: Tensor) -> Tensor:
    """``softmax_plus_plus(loc + scale * noise, temperature, log_delta)`` in one differentiable step.

    Its backward pass needs the result and the noise, and the inputs; nothing else is kept. It can be differentiated
    any number of times in reverse mode, with respect to every argument; forward mode raises.

    Args:
        loc: ``(..., K - 1)``, as are ``scale`` and ``noise``; they broadcast.
        scale: factor of the noise.
        noise: standard normal, usually.
        temperature: positive, ``()`` or ``(..., 1)``.
        log_delta: ``()`` or ``(..., 1)``.

    Returns:
        Points of the simplex, ``(..., K)``.

    Example:
        >>> import torch
        >>> zeros = torch.zeros(3)
        >>> gaussian_softmax(zeros, zeros, zeros, torch.tensor(1.0), torch.tensor(0.0))
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    if torch.compiler.is_compiling():  # a compiler fuses the plain formula by itself
        return softmax_plus_plus(torch.addcmul(loc, scale, noise), temperature, log_delta)
    return _GaussianSoftmax.apply(loc, scale, noise, temperature, log_delta)


class _Softmax(torch.autograd.Function):
    """Softmax of short rows."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _composed_(x.clone())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (psi,) = ctx.saved_tensors
        return _through_softmax(psi, grad)


class _LogSoftmax(torch.autograd.Function):
    """Log-softmax of short rows."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        shifted = x - x.amax(-1, keepdim=True)
        return shifted.sub_(shifted.exp().sum(-1, keepdim=True).log_())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (log_psi,) = ctx.saved_tensors
        return torch.addcmul(grad, log_psi.exp(), grad.sum(-1, keepdim=True), value=-1)


class _GaussianSoftmax(torch.autograd.Function):
    """``(loc, scale, noise, temperature, log_delta) -> psi``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(loc: Tensor, scale: Tensor, noise: Tensor, temperature: Tensor, log_delta: Tensor) -> Tensor:
        x = append_score(torch.addcmul(loc, scale, noise), temperature * log_delta).div_(temperature)
        return _composed_(x) if _slow(x) else torch.softmax(x, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(output, *inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        psi, loc, scale, noise, temperature, log_delta = ctx.saved_tensors
        needs = ctx.needs_input_grad
        through = _through_softmax(psi, grad)
        scores = through[..., :-1] / temperature
        return (
            scores.sum_to_size(loc.shape) if needs[0] else None,
            (scores * noise).sum_to_size(scale.shape) if needs[1] else None,
            (scores * scale).sum_to_size(noise.shape) if needs[2] else None,
            _to_temperature(scores, loc + scale * noise, temperature) if needs[3] else None,
            through[..., -1:].sum_to_size(log_delta.shape) if needs[4] else None,
        )


def _to_temperature(scores: Tensor, y: Tensor, temperature: Tensor) -> Tensor:
    """Gradient with respect to the temperature, by which the scores ``y`` were divided."""
    return -((scores * y).sum(-1, keepdim=True) / temperature).sum_to_size(temperature.shape)


def _through_softmax(psi: Tensor, grad: Tensor) -> Tensor:
    weighted = grad * psi
    return torch.addcmul(weighted, psi, weighted.sum(-1, keepdim=True), value=-1)


def _composed_(x: Tensor) -> Tensor:
    """Softmax in place: half of the time of a short one goes to fresh memory."""
    e = x.sub_(x.amax(-1, keepdim=True)).exp_()
    return e.div_(e.sum(-1, keepdim=True))


def _slow(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.shape[-1] < _SLOW_BELOW.get(x.dtype, 0) and not torch.compiler.is_compiling()
