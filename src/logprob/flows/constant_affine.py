"""A shift and a scale for each feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from logprob.flows.base import FlowLayer, InverseMethod
from logprob.flows.vector_coupling import check_vector


class ConstantAffine(FlowLayer):
    """``z_i = x_i exp(s_i) + t_i`` with free ``s`` and ``t``, both zero at the start; nothing is set by data.

    Args:
        features: number D of features.
        scale: whether there is an ``s``; without it volumes are kept.
        shift: whether there is a ``t``.

    Raises:
        ValueError: if ``features`` is below one, or for inputs of another shape.

    Example:
        >>> import torch
        >>> z, ladj = ConstantAffine(4)(torch.randn(8, 4))
        >>> z.shape, ladj.shape
        (torch.Size([8, 4]), torch.Size([8]))
    """

    def __init__(self, features: int, scale: bool = True, shift: bool = True) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"features must be at least 1, got {features}")
        self.features = features
        self.log_scale = nn.Parameter(torch.zeros(features), requires_grad=scale)
        self.shift = nn.Parameter(torch.zeros(features), requires_grad=shift)

    def extra_repr(self) -> str:
        """Features."""
        return f"{self.features}"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        check_vector(tuple(x.shape[1:]), self.features)
        return torch.addcmul(self.shift, x, self.log_scale.exp()), self.log_scale.sum().expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Exact inverse."""
        check_vector(tuple(z.shape[1:]), self.features)
        return (z - self.shift) * torch.exp(-self.log_scale)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same vector shape."""
        return check_vector(shape, self.features)

    input_shape = output_shape
