"""Derivatives of the law of the largest of several Gaussians and a constant, by the quadrature that gave the law.

Of integrals that begin at ``L``, with ``q_k(t) = h_k(t) G(t) / P(k)`` at the nodes::

    d log P(k) / d loc_j = -sum_t q_k h_j                                  (j != k)
    d log P(k) / d loc_k = sum_t q_k sum_{j != k} h_j + q_k(L)

The second is by parts: no large terms cancel, and the derivatives of all probabilities sum to 0. With respect to
``scale_j`` each term carries ``z_j`` as a factor.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from logprob.simplex.category_mesh import Rule, panels_of, start_of
from logprob.simplex.category_quadrature import (
    Gaussians,
    Integral,
    Piece,
    integrate,
    log_integrand,
    log_ndtr,
    log_sum,
)

KEPT = 1 << 22  # numbers kept for the backward pass at most, about 100 MB; of more it integrates again


class LogProbs(torch.autograd.Function):
    """``(loc, scale, threshold) -> log P``, shapes ``(..., n), (..., n), (...)`` to ``(..., n + 1)``, float64.

    Further outputs are what the backward pass needs. It holds under ``vmap`` and ``torch.func.grad``; second
    derivatives differentiate the quadrature itself, third ones raise.
    """

    @staticmethod
    def forward(loc: Tensor, scale: Tensor, threshold: Tensor, rule: Rule, keep: bool) -> tuple[Tensor, ...]:
        """Integrate."""
        gaussians = _columns(loc, scale, threshold)
        keep = keep and loc.numel() * rule.order * 8 <= KEPT  # hardly ever more than 8 panels
        log_probs, start, pieces = integrate(gaussians, rule, keep)
        batch = threshold.shape
        return _rows(log_probs, batch), start.reshape(batch), *(field for piece in pieces for field in piece)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep parameters, result and, if there are any, pieces."""
        loc, scale, threshold, ctx.rule, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # zeros for each piece would take a quarter of the time
        ctx.save_for_backward(loc, scale, threshold, *output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        """Gradients from the pieces."""
        if grad is None:
            return (None,) * 5
        return *_PullBack.apply(grad, ctx.rule, *ctx.saved_tensors), None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """One more batch dimension."""
        loc, scale, threshold = _batched(info.batch_size, in_dims[:3], inputs[:3])
        return LogProbs.apply(loc, scale, threshold, inputs[3], False), (0, 0)


class _PullBack(torch.autograd.Function):
    """``(g, parameters) -> (d/d parameters) g . log P``, from the pieces if they were kept."""

    @staticmethod
    def forward(grad: Tensor, rule: Rule, loc: Tensor, scale: Tensor, threshold: Tensor, *kept: Tensor) -> Any:
        gaussians = _columns(loc, scale, threshold)
        log_probs, start, *fields = kept
        cotangent = grad.reshape(-1, grad.shape[-1]).T.contiguous()
        if fields:
            pieces = [Piece(*fields[i : i + 5]) for i in range(0, len(fields), 5)]
            integral = Integral(log_probs.reshape(-1, log_probs.shape[-1]).T, start.reshape(-1), pieces)
            pulled = pull_back(cotangent, gaussians, integral)
        else:
            pulled = _integrate_again(cotangent, gaussians, rule)
        batch = threshold.shape
        return _rows(pulled.loc, batch), _rows(pulled.scale, batch), pulled.threshold.reshape(batch)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        grad, ctx.rule, loc, scale, threshold, *kept = inputs
        ctx.kept = len(kept)
        ctx.save_for_backward(grad, loc, scale, threshold)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            grad, *parameters = (x.detach().requires_grad_() for x in ctx.saved_tensors)
            log_probs = _rows(_differentiable(_columns(*parameters), ctx.rule), parameters[2].shape)
            first = torch.autograd.grad(log_probs, parameters, grad, create_graph=True)
            second = torch.autograd.grad(first, (grad, *parameters), cotangents)
        return second[0], None, *second[1:], *[None] * ctx.kept

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        grad, rule, *rest = inputs
        tensors = _batched(info.batch_size, (in_dims[0], *in_dims[2:7]), (grad, *rest[:5]))
        return _PullBack.apply(tensors[0], rule, *tensors[1:]), (0, 0, 0)


def pull_back(grad: Tensor, gaussians: Gaussians, integral: Integral) -> Gaussians:
    """Gradients of ``sum grad * log_probs`` with respect to all parameters; ``grad`` is ``(n + 1, V)``."""
    loc, scale, threshold = gaussians
    log_probs, inside, last = integral.log_probs[:-1], grad[:-1], grad[-1]
    to_loc, to_scale = torch.zeros_like(loc), torch.zeros_like(loc)
    for piece in integral.pieces:
        weight = _share(piece, log_probs) * inside.index_select(1, piece.variable)
        weighted = piece.mass * weight.to(piece.mass.dtype)
        slope = weighted * piece.hazard.sum(1, keepdim=True)
        slope.addcmul_(piece.hazard, weighted.sum(1, keepdim=True), value=-1)
        to_loc.index_add_(1, piece.variable, slope.sum(0).double())
        to_scale.index_add_(1, piece.variable, slope.mul_(piece.z).sum(0).double())
    begin, edge = _at(integral.start, loc, scale), _at(threshold, loc, scale)
    flow, drain = begin.share_of(log_probs) * inside, edge.log_hazard.exp() * last
    to_loc += flow - drain
    to_scale += flow * begin.z - drain * edge.z
    to_threshold = drain.sum(0) - torch.where(integral.start > threshold, 0.0, flow.sum(0))
    return Gaussians(to_loc, to_scale, to_threshold)


def log_jacobian(gaussians: Gaussians, integral: Integral) -> Tensor:
    """``d log P(k) / d loc_j`` for ``j, k < K``, shape ``(V, n, n)``."""
    (n, variables), log_probs = gaussians.shape, integral.log_probs[:-1]
    products = log_probs.new_zeros(variables, n, n)
    for piece in integral.pieces:
        mass = piece.mass * _share(piece, log_probs)
        products.index_add_(0, piece.variable, mass.permute(2, 1, 0) @ piece.hazard.permute(2, 0, 1))
    products.diagonal(dim1=-2, dim2=-1).zero_()
    flow = _at(integral.start, gaussians.loc, gaussians.scale).share_of(log_probs)
    return torch.diag_embed(products.sum(-1) + flow.T) - products


def _share(piece: Piece, log_probs: Tensor) -> Tensor:
    """Mass of a panel at its highest node, as a share of the category's probability, ``(n, P)``."""
    return (piece.top - log_probs.index_select(1, piece.variable)).exp()


class _Point(NamedTuple):
    """Standardised values, scales and log hazards ``(n, V)`` and ``log G`` ``(V,)`` at one point of each variable."""

    z: Tensor
    scale: Tensor
    log_hazard: Tensor
    log_cdf: Tensor

    def share_of(self, log_probs: Tensor) -> Tensor:
        """``q_k`` here, where the integral begins.

        As ``P(k) >= (1 - Phi_k) prod_{j != k} Phi_j`` here, it is at most the hazard of an upper tail. That bound is
        used where ``log P(k)`` is a large number of few digits.
        """
        bound = (self.z + (self.z.square() + 4).sqrt()) / (2 * self.scale)
        return torch.minimum((self.log_hazard + self.log_cdf - log_probs).exp(), bound)


def _at(point: Tensor, loc: Tensor, scale: Tensor) -> _Point:
    z = (point - loc) / scale
    log_cdf = log_ndtr(z)
    log_hazard = -z.square() / 2 - log_cdf - scale.log() - math.log(2 * math.pi) / 2
    return _Point(z, scale, log_hazard, log_cdf.sum(0))


def _integrate_again(grad: Tensor, gaussians: Gaussians, rule: Rule) -> Gaussians:
    """Block by block of variables, so that memory stays bounded."""
    n, variables = gaussians.shape
    size, pulled = max(1, KEPT // (n * rule.order * 8)), []
    for i in range(0, max(1, variables), size):
        block = slice(i, i + size)
        part = gaussians.of(block)
        pulled.append(pull_back(grad[:, block], part, integrate(part, rule, keep=True)))
    return Gaussians(*(torch.cat(parts, -1) for parts in zip(*pulled, strict=True)))


def _differentiable(gaussians: Gaussians, rule: Rule) -> Tensor:
    """Log-probabilities by differentiable operations; panels keep their distance from the start."""
    loc, scale, threshold = gaussians
    with torch.no_grad():
        start = start_of(loc, scale, threshold, rule.reach)
        panels = panels_of(loc - start, scale, rule)
    start = torch.where(start > threshold, start, threshold)
    log_mass = log_integrand(loc - start, scale, panels, rule)[2]
    inside = log_sum(log_mass.logsumexp(0).double(), panels.variable, loc.shape[-1])
    return torch.cat([inside, torch.special.log_ndtr((threshold - loc) / scale).sum(0, keepdim=True)])


def _columns(loc: Tensor, scale: Tensor, threshold: Tensor) -> Gaussians:
    """Variables flat and last."""
    n = loc.shape[-1]
    return Gaussians(loc.reshape(-1, n).T.contiguous(), scale.reshape(-1, n).T.contiguous(), threshold.reshape(-1))


def _rows(columns: Tensor, batch: torch.Size) -> Tensor:
    return columns.T.reshape(*batch, len(columns))


def _batched(size: int, dims: Any, tensors: Any) -> list[Tensor]:
    """Move the dimension that vmap maps over to the front, or make one."""
    return [
        x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0) for x, dim in zip(tensors, dims, strict=True)
    ]
