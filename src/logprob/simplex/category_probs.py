"""Exact law of the category of an invertible Gaussian: which of several Gaussians and a constant is the largest."""

from __future__ import annotations

import torch
from torch import Tensor

from logprob.simplex.category_derivatives import LogProbs
from logprob.simplex.category_mesh import rule_for

EXACT = 1e-12


def category_log_probs(loc: Tensor, scale: Tensor, threshold: Tensor | float = 0.0, tolerance: float = EXACT) -> Tensor:
    """Log-probabilities in nats that each of K - 1 Gaussians, or else the threshold, is the largest.

    With independent ``y_k ~ N(loc_k, scale_k^2)`` and the threshold ``c``::

        P(k) = integral_c^inf N(t; loc_k, scale_k) prod_{j != k} Phi((t - loc_j) / scale_j) dt    (k < K)
        P(K) = prod_j Phi((c - loc_j) / scale_j)

    This is the law of the argmax of a sample of :class:`~logprob.simplex.InvertibleGaussian` without a transform, where
    ``c = temperature * log(delta)``: 0 for ``delta = 1``, whatever the temperature.

    All integrals share one composite Gauss-Legendre rule of which the panels follow the scales, in logarithms and in
    float64; the result is cast to the type of ``loc``. Absolute errors of probabilities stay below 1e-12 (1e-11
    beyond 200 categories). Logarithms of probabilities below that are finite, but only roughly right. The K
    probabilities are found independently of each other, so their sum is an alarm: where it is off, finer panels are
    taken. They are never renormalised.

    Gradients with respect to ``loc``, ``scale`` and ``threshold`` come from the same quadrature; so do second
    derivatives, without a bound on memory. It works under ``torch.vmap`` and ``torch.func.grad``; under
    ``torch.compile`` it is a break in the graph.

    Args:
        loc: shape ``(..., K - 1)``.
        scale: shape ``(..., K - 1)``, > 0, broadcast with ``loc``.
        threshold: ``c``, a number or of the batch shape ``(...)``.
        tolerance: absolute error of a probability that is borne. From 1e-6 on a rule with a third of the nodes is
            used, and float32 inside unless ``loc`` is float64: for objectives that need a gradient every step.

    Returns:
        Shape ``(..., K)``, the threshold last. NaN where a parameter is not finite.

    Raises:
        ValueError: if ``loc`` has no last dimension, if a scale is not positive, or if the sum of the probabilities is
            off by more than 1e-8 even with the finer panels.

    References:
        Potapczynski, Loaiza-Ganem, Cunningham, "Invertible Gaussian reparameterization", NeurIPS 2020. Their
        quadrature is right for equal scales only.

    Example:
        >>> import torch
        >>> from logprob.simplex.category_probs import category_log_probs
        >>> category_log_probs(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.1])).exp()
        tensor([0.4841, 0.2659, 0.2500])
    """
    work = [torch.as_tensor(x, dtype=torch.float64, device=loc.device) for x in (loc, scale, threshold)]
    if loc.dim() == 0 or loc.shape[-1] == 0:
        raise ValueError(f"expected loc of shape (..., K - 1) with K >= 2, got {tuple(loc.shape)}")
    mu, sigma = torch.broadcast_tensors(*work[:2])
    batch = torch.broadcast_shapes(mu.shape[:-1], work[2].shape)
    mu, sigma = (x.expand(*batch, -1) for x in (mu, sigma))
    rule = rule_for(mu.shape[-1], tolerance, loc.dtype)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in work)
    apply = torch.compiler.disable(LogProbs.apply) if torch.compiler.is_compiling() else LogProbs.apply
    return apply(mu, sigma, work[2].expand(batch), rule, keep)[0].to(loc.dtype)


def argmax_log_probs(loc: Tensor, scale: Tensor, tolerance: float = EXACT) -> Tensor:
    """Log-probabilities in nats that each of K Gaussians is the largest, with no threshold beside them.

    ``P(k) = integral N(t; loc_k, scale_k) prod_{j != k} Phi((t - loc_j) / scale_j) dt``: the law of the argmax of a
    plain softmax of Gaussians. The last one is integrated like the others. Otherwise as :func:`category_log_probs`.

    Args:
        loc: shape ``(..., K)``.
        scale: shape ``(..., K)``, > 0, broadcast with ``loc``.
        tolerance: absolute error of a probability that is borne.

    Returns:
        Shape ``(..., K)``.

    Example:
        >>> argmax_log_probs(torch.zeros(4), torch.ones(4)).exp()
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    below_all = (loc.detach() - 40 * scale.detach()).amin(-1)
    return category_log_probs(loc, scale, below_all, tolerance)[..., :-1]
