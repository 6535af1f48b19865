"""Invertible linear layers of vectors by triangular factors, with fixed entries or with entries set by a context."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from logprob.flows.base import FlowLayer, InverseMethod
from logprob.flows.mixing import LUConv1x1
from logprob.flows.precision import at_least_float32, full_precision
from logprob.flows.vector_coupling import START, check_vector
from logprob.nn import MLP, Nonlinearity
from logprob.nn.context import with_context


class LULinear(FlowLayer):
    """``z = P L U x (+ b)``: always invertible, with ``log|det dz/dx| = sum_i log|U_ii|``.

    ``P`` is a fixed permutation, which the state holds; ``L`` is lower triangular with ones on its diagonal, and the
    diagonal of ``U`` is ``sign * exp(log_diagonal)`` with fixed signs. They start as the factors of a random orthogonal
    matrix.

    Args:
        features: number D of features.
        bias: whether to add a bias, zero at the start.

    Raises:
        ValueError: if ``features`` is below one, or for inputs of another shape.

    References:
        Kingma and Dhariwal, "Glow", NeurIPS 2018, section 3.2.

    Example:
        >>> import torch
        >>> z, ladj = LULinear(4)(torch.randn(8, 4))
        >>> z.shape, ladj.shape
        (torch.Size([8, 4]), torch.Size([8]))
    """

    def __init__(self, features: int, bias: bool = False) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"features must be at least 1, got {features}")
        self.features = features
        self.factors = LUConv1x1(features, bias)  # a vector is an image of one pixel

    def extra_repr(self) -> str:
        """Features."""
        return f"{self.features}"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        check_vector(tuple(x.shape[1:]), self.features)
        z = torch.nn.functional.linear(x, self.factors.matrix(), self.factors.bias)
        return z, self.factors.matrix_log_det().expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The exact ``x``, by a permutation and two substitutions."""
        check_vector(tuple(z.shape[1:]), self.features)
        return self.factors.inverse(z[:, :, None, None])[:, :, 0, 0]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same vector shape."""
        return check_vector(shape, self.features)

    input_shape = output_shape


class ConditionalLULinear(FlowLayer):
    """``z = P L(c) U(c) x``: as :class:`LULinear`, with entries that a network chooses by the context c of each row.

    What the network says is added to the factors of a random orthogonal matrix, which stay as they are.

    Args:
        features: number D of features.
        context: width of the context, at least 1.
        hidden: widths of the hidden layers of the network.
        activation: nonlinearity of the network.

    Raises:
        ValueError: for a number below one, or for inputs or contexts of another shape.

    Example:
        >>> import torch
        >>> layer = ConditionalLULinear(4, context=2)
        >>> x, context = torch.randn(8, 4), torch.randn(8, 2)
        >>> z, ladj = layer(x, context)
        >>> torch.allclose(layer.inverse(z, context), x, atol=1e-4)
        True
    """

    def __init__(
        self, features: int, context: int, hidden: Sequence[int] = (128, 128), activation: Nonlinearity = "relu"
    ) -> None:
        super().__init__()
        if features < 1 or context < 1:
            raise ValueError(f"features and context must be at least 1, got {features} and {context}")
        self.features, self.context = features, context
        start = LUConv1x1(features)
        self.network = MLP(context, features * features, hidden, activation, final_scale=START)
        self.register_buffer("rows", start.rows)
        self.register_buffer("signs", start.signs)
        self.register_buffer("start", (start.lower.tril(-1) + start.upper.triu(1) + start.log_diagonal.diag()).detach())
        self.rows: Tensor
        self.signs: Tensor
        self.start: Tensor

    def extra_repr(self) -> str:
        """Features and width of the context."""
        return f"{self.features}, context={self.context}"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact output and log-determinant."""
        lower, upper, ladj = self._factors(x, context)
        return (lower @ (upper @ x.unsqueeze(-1))).squeeze(-1)[:, self.rows], ladj

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The exact ``x``, by a permutation and two substitutions."""
        lower, upper, _ = self._factors(z, context)
        y = z[:, self.rows.argsort()].unsqueeze(-1)
        with full_precision(z):
            lower, upper, y = map(at_least_float32, (lower, upper, y))
            y = torch.linalg.solve_triangular(lower, y, upper=False, unitriangular=True)
            return torch.linalg.solve_triangular(upper, y, upper=True).squeeze(-1).to(z.dtype)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same vector shape."""
        return check_vector(shape, self.features)

    input_shape = output_shape

    def _factors(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """``L`` and ``U`` of each row, ``(B, D, D)``, and the log-determinants."""
        check_vector(tuple(x.shape[1:]), self.features)
        seen = with_context(x, context, self.context)[:, self.features :]
        entries = self.start + self.network(seen).unflatten(1, (self.features, self.features))
        log_diagonal = entries.diagonal(dim1=1, dim2=2)
        unit = torch.eye(self.features, dtype=x.dtype, device=x.device)
        diagonal = (self.signs * log_diagonal.exp()).diag_embed()
        return entries.tril(-1) + unit, entries.triu(1) + diagonal, log_diagonal.sum(1)
