"""Laws of the latents of an invertible network: independent given the label, correlated, or free of the label."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from logprob.distributions import UnnormalizedDistribution

_LOG_TWO_PI = math.log(2 * math.pi)


class PreciseNormal(UnnormalizedDistribution):
    """Zero-mean normal vectors with precision ``P_y = C C^T + diag e^{lambda_y}``, or ``diag e^{lambda_y}``.

    ``log p(z | y) = 1/2 log det P_y - 1/2 z^T P_y z - D/2 log 2 pi``, in nats. With C, precisions of segments differ
    on the diagonal only: this is the family of IMCA.

    Args:
        log_precision: lambda of all K labels, ``(*copies, K, D)``.
        labels: int64 ``(N,)``; the batch shape is ``(*copies, N)``.
        shared: C, ``(*copies, D, D)``, or None for independent dimensions.
    """

    support = constraints.real_vector
    has_rsample = True

    def __init__(self, log_precision: Tensor, labels: Tensor, shared: Tensor | None = None) -> None:
        self.log_precision, self.labels, self.shared = log_precision, labels, shared
        batch = torch.Size((*log_precision.shape[:-2], *labels.shape))
        super().__init__(batch, log_precision.shape[-1:], validate_args=False)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """``-1/2 z^T P_y z``."""
        square = value.square()
        quadratic = (square * self._of_rows(self.log_precision.exp())).sum(-1)
        if self.shared is not None:
            quadratic = quadratic + (value @ self.shared).square().sum(-1)
        return -quadratic / 2

    @property
    def log_partition(self) -> Tensor:
        """``D/2 log 2 pi - 1/2 log det P_y``, exact."""
        if self.shared is None:
            log_det = self.log_precision.sum(-1)  # (*copies, K)
        else:
            log_det = 2 * self._roots().diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (self.event_shape[0] * _LOG_TWO_PI - self._of_rows(log_det.unsqueeze(-1)).squeeze(-1)) / 2

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, reparameterised."""
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        noise = torch.randn(shape, dtype=self.log_precision.dtype, device=self.log_precision.device)
        if self.shared is None:
            return noise * self._of_rows((-self.log_precision / 2).exp())
        roots = self._roots().index_select(-3, self.labels)  # P = R R^T; R^-T e has covariance P^-1
        return torch.linalg.solve_triangular(roots.mT, noise.unsqueeze(-1), upper=True).squeeze(-1)

    def _roots(self) -> Tensor:
        """Cholesky factors of the precisions of all labels, ``(*copies, K, D, D)``."""
        if self.shared is None:
            raise ValueError("independent dimensions have no shared precision")
        common = (self.shared @ self.shared.mT).unsqueeze(-3)
        roots, failed = torch.linalg.cholesky_ex(common + self.log_precision.exp().diag_embed())
        return roots.masked_fill(failed[..., None, None] > 0, torch.nan)  # one copy that diverged must not stop others

    def _of_rows(self, of_labels: Tensor) -> Tensor:
        return of_labels.index_select(-2, self.labels)  # (*copies, N, ...)


class ScaleMixture(UnnormalizedDistribution):
    """Independent dimensions, each the same mixture of zero-mean normals of several scales.

    ``log p(z) = sum_d log sum_j w_j N(z_d; 0, sigma_j^2)``, in nats: heavy tails, as of a source whose variance
    changes from segment to segment when the segments are not known.

    Args:
        logits: of the weights w, ``(*copies, J)``.
        log_scale: logs of the standard deviations, ``(*copies, J)``.
        features: number D of dimensions.

    Shapes: the batch shape is ``()``, or ``(C, 1)`` with copies, so that rows ``(N, D)`` get ``(C, N)``.
    """

    support = constraints.real_vector

    def __init__(self, logits: Tensor, log_scale: Tensor, features: int, batch_shape: Any = None) -> None:
        self.logits, self.log_scale = logits, log_scale
        lead = logits.shape[:-1]
        batch = (*lead, 1) if lead else ()
        super().__init__(
            torch.Size(batch if batch_shape is None else batch_shape), torch.Size((features,)), validate_args=False
        )

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """The exact log-density; it is normalised."""
        constant = self.logits.log_softmax(-1) - self.log_scale - _LOG_TWO_PI / 2  # (*copies, J)
        half_precision = (-2 * self.log_scale).exp() / 2
        if self.logits.dim() > 1:
            constant, half_precision = constant[:, None, None], half_precision[:, None, None]
        terms = constant - half_precision * value.square().unsqueeze(-1)  # (*copies, N, D, J)
        return terms.logsumexp(-1).sum(-1)

    @property
    def log_partition(self) -> Tensor:
        """Zero."""
        return self.logits.new_zeros(self.batch_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws; of which scale is not differentiable."""
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        count = math.prod(shape)
        with torch.no_grad():
            if self.logits.dim() > 1:
                *leading, copies, rows, features = shape
                per_copy = torch.multinomial(self.logits.softmax(-1), count // copies, replacement=True)
                scale = self.log_scale.exp().gather(-1, per_copy).reshape(copies, *leading, rows, features)
                scale = scale.movedim(0, -3)
            else:
                component = torch.multinomial(self.logits.softmax(-1), count, replacement=True)
                scale = self.log_scale.exp()[component].reshape(shape)
            return scale * torch.randn(shape, dtype=scale.dtype, device=scale.device)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ScaleMixture:
        """The same distribution with a batch shape."""
        return ScaleMixture(self.logits, self.log_scale, self.event_shape[0], batch_shape)
