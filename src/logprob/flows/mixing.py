"""Invertible 1x1 convolutions: one matrix mixes the channels of every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from logprob.flows.base import FlowLayer, InverseMethod
from logprob.flows.precision import at_least_float32, full_precision


class _Mixing(FlowLayer):
    """``z = W x (+ b)`` at every pixel; a subclass says what ``W`` is, its log-determinant and how to solve."""

    event_dim = 3

    def __init__(self, channels: int, bias: bool = False) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        self.channels = channels
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def matrix(self) -> Tensor:
        """``W``, of shape ``(C, C)``."""
        raise NotImplementedError

    def matrix_log_det(self) -> Tensor:
        """``log|det W|``, a scalar."""
        raise NotImplementedError

    def solve(self, columns: Tensor) -> Tensor:
        """``W^-1`` times ``(C, N)``, which are at least float32."""
        raise NotImplementedError

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact ``z`` of shape ``(B, C, H, W)`` and ``H W log|det W|`` of shape ``(B,)``."""
        check_images(x, self.channels)
        # One product over all pixels: on a CPU forward and backward take .8 of a convolution call, or much less.
        z = torch.einsum("oc,bchw->bohw", self.matrix(), x)
        if self.bias is not None:
            z = z + self.bias[:, None, None]
        ladj = self.matrix_log_det() * (x.shape[2] * x.shape[3])
        return z, ladj.expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The exact ``x``, whatever the method; differentiable."""
        check_images(z, self.channels)
        if self.bias is not None:
            z = z - self.bias[:, None, None]
        channels_first = z.transpose(0, 1)
        with full_precision(z):
            x = self.solve(at_least_float32(channels_first.flatten(1))).to(z.dtype)
        return x.reshape(channels_first.shape).transpose(0, 1)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, if it is that of an image with these channels."""
        return check_image_shape(shape, self.channels)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, if it is that of an image with these channels."""
        return check_image_shape(shape, self.channels)

    def extra_repr(self) -> str:
        """Channels, and the bias where there is one."""
        return f"{self.channels}" if self.bias is None else f"{self.channels}, bias=True"


class Conv1x1(_Mixing):
    """1x1 convolution by any matrix: ``z = W x + b`` at each pixel, ``log|det dz/dx| = H W log|det W|``.

    The determinant and the solution are those of the ``C x C`` matrix, ``O(C^3)`` whatever the image size.
    ``W`` starts as a random orthogonal matrix; nothing keeps it invertible.

    Args:
        channels: C.
        bias: whether to add a bias for each channel, zero at the start.

    Raises:
        ValueError: if ``channels`` is not positive, or for inputs other than ``(B, C, H, W)``.

    References:
        Kingma, Dhariwal, "Glow: generative flow with invertible 1x1 convolutions", NeurIPS 2018.

    Example:
        >>> import torch
        >>> from logprob.flows import Conv1x1
        >>> layer = Conv1x1(3)
        >>> z, ladj = layer(torch.randn(2, 3, 4, 4))
        >>> z.shape, ladj.shape, layer.inverse(z).shape
        (torch.Size([2, 3, 4, 4]), torch.Size([2]), torch.Size([2, 3, 4, 4]))
    """

    def __init__(self, channels: int, bias: bool = False) -> None:
        super().__init__(channels, bias)
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(channels, channels)))

    def matrix(self) -> Tensor:
        """The weight."""
        return self.weight

    def matrix_log_det(self) -> Tensor:
        """By LU factorisation."""
        return torch.linalg.slogdet(at_least_float32(self.weight)).logabsdet.to(self.weight.dtype)

    def solve(self, columns: Tensor) -> Tensor:
        """By LU factorisation."""
        return torch.linalg.solve(at_least_float32(self.weight), columns)


class LUConv1x1(_Mixing):
    """1x1 convolution by ``W = P L U``: always invertible, its log-determinant a sum of C numbers.

    ``P`` is a fixed permutation, ``L`` lower triangular with ones on the diagonal, and the diagonal of ``U`` is
    ``sign * exp(log_diagonal)`` with fixed signs; ``log|det dz/dx| = H W sum(log_diagonal)``. The three start
    as the factors of a random orthogonal matrix.

    Args:
        channels: C.
        bias: whether to add a bias for each channel, zero at the start.

    Raises:
        ValueError: if ``channels`` is not positive, or for inputs other than ``(B, C, H, W)``.

    References:
        Kingma, Dhariwal, "Glow: generative flow with invertible 1x1 convolutions", NeurIPS 2018, section 3.2.

    Example:
        >>> import torch
        >>> from logprob.flows import LUConv1x1
        >>> z, ladj = LUConv1x1(3)(torch.randn(2, 3, 4, 4))
    """

    def __init__(self, channels: int, bias: bool = False) -> None:
        super().__init__(channels, bias)
        permutation, lower, upper = torch.linalg.lu(nn.init.orthogonal_(torch.empty(channels, channels)))
        diagonal = upper.diagonal()
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())
        self.register_buffer("signs", diagonal.sign())
        self.register_buffer("rows", permutation.argmax(1))  # row i of P M is row rows[i] of M
        self.signs: Tensor
        self.rows: Tensor

    def factors(self) -> tuple[Tensor, Tensor]:
        """``L`` and ``U``."""
        unit = torch.eye(self.channels, dtype=self.lower.dtype, device=self.lower.device)
        return self.lower.tril(-1) + unit, self.upper.triu(1) + (self.signs * self.log_diagonal.exp()).diag()

    def matrix(self) -> Tensor:
        """``P L U``."""
        lower, upper = self.factors()
        with full_precision(lower):
            return (lower @ upper)[self.rows]

    def matrix_log_det(self) -> Tensor:
        """Sum of the log-diagonal."""
        return self.log_diagonal.sum()

    def solve(self, columns: Tensor) -> Tensor:
        """By a permutation and two substitutions."""
        lower, upper = (at_least_float32(factor) for factor in self.factors())
        y = columns[self.rows.argsort()]
        y = torch.linalg.solve_triangular(lower, y, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, y, upper=True)


class HouseholderConv1x1(_Mixing):
    """1x1 convolution by an orthogonal matrix, a product of Householder reflections; the log-determinant is 0.

    ``Q = H_1 H_2 ... H_n`` with ``H_i = I - 2 v_i v_i^T / (v_i^T v_i)``, the vectors being the rows of ``vectors``.
    The product is formed at once as ``I - V^T S^-1 V``, where ``S`` is upper triangular: the part of ``V V^T``
    above its diagonal plus half of its diagonal.

    Args:
        channels: C.
        reflections: n; C of them reach every orthogonal matrix of determinant ``(-1)^C``.
        bias: whether to add a bias for each channel, zero at the start.

    Raises:
        ValueError: if either number is not positive, or for inputs other than ``(B, C, H, W)``.

    References:
        Tomczak, Welling, "Improving variational auto-encoders using Householder flow", 2016; Joffrain et al.,
        "Accumulating Householder transformations, revisited", ACM TOMS 2006 (the product).

    Example:
        >>> import torch
        >>> from logprob.flows import HouseholderConv1x1
        >>> z, ladj = HouseholderConv1x1(3, reflections=2)(torch.randn(2, 3, 4, 4))
    """

    def __init__(self, channels: int, reflections: int, bias: bool = False) -> None:
        super().__init__(channels, bias)
        if reflections < 1:
            raise ValueError(f"reflections must be at least 1, got {reflections}")
        self.vectors = nn.Parameter(torch.randn(reflections, channels))

    def matrix(self) -> Tensor:
        """``Q``."""
        return self._product().to(self.vectors.dtype)

    def matrix_log_det(self) -> Tensor:
        """Zero."""
        return self.vectors.new_zeros(())

    def solve(self, columns: Tensor) -> Tensor:
        """By the transpose."""
        return self._product().T @ columns

    def extra_repr(self) -> str:
        """Channels and reflections."""
        return f"{super().extra_repr()}, reflections={len(self.vectors)}"

    def _product(self) -> Tensor:
        vectors = at_least_float32(self.vectors)
        unit = torch.eye(self.channels, dtype=vectors.dtype, device=vectors.device)
        with full_precision(vectors):
            gram = vectors @ vectors.T
            triangular = gram.triu(1) + (gram.diagonal() / 2).diag()
            return unit - vectors.T @ torch.linalg.solve_triangular(triangular, vectors, upper=True)


def check_images(x: Tensor, channels: int) -> None:
    """Raise ValueError unless ``x`` is ``(B, channels, H, W)``."""
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(f"expected images of shape (B, {channels}, H, W), got {tuple(x.shape)}")


def check_image_shape(shape: tuple[int, ...], channels: int) -> tuple[int, ...]:
    """``shape`` itself; raise ValueError unless it is ``(channels, H, W)``."""
    if len(shape) != 3 or shape[0] != channels:
        raise ValueError(f"expected events of shape ({channels}, H, W), got {tuple(shape)}")
    return shape
