"""The exponential of a convolution: invertible whatever the kernel, its log-determinant a trace."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from logprob.flows.base import FlowLayer, InverseMethod
from logprob.flows.exponential_series import convolution_exponential, power_step, rescale
from logprob.flows.mixing import Conv1x1, HouseholderConv1x1
from logprob.flows.sequential import Sequential


class ConvolutionExponential(FlowLayer):
    """``z = exp(K) x``, the series ``sum_n K^n x / n!`` of a zero-padded 3x3 convolution ``K``.

    The log-determinant is the trace of the operator, ``H W`` times the sum of the centre taps, and the inverse is
    ``exp(-K)``: both belong to the infinite series, while the value is cut off after ``terms`` terms in training
    and ``eval_terms`` terms otherwise (and in :meth:`inverse` always). With operator norm ``s`` the cut leaves out
    at most ``remainder_bound(s, terms) ||x||``: 1.1e-4 ``||x||`` at norm 0.9 and 6 terms, 3e-12 at 13.

    To keep the norm at ``norm`` the kernel is divided by ``max(1, sigma / norm) + 1e-5``, where ``sigma = u . K v``
    is an estimate of the operator's norm, always from below, by power iteration. The vectors move one step when
    a forward pass in training mode meets a changed kernel; so a repeated pass, as of gradient checkpointing,
    repeats its result. They stay as they are in evaluation and under :mod:`torch.func` transforms, and a
    ``functional_call`` moves the copies that it is given. :meth:`tighten`, also called by ``synchronize()``, takes
    many steps: do so before a trained model is used.

    Args:
        channels: C.
        image_size: ``(H, W)``, or one number for both; the operator's norm depends on it.
        terms: in training mode.
        eval_terms: in evaluation mode, and of the inverse.
        norm: largest operator norm.
        tolerance: outside training, stop the series as soon as no entry of a term exceeds it. Each term then costs
            a synchronisation with the device, and the layer no longer compiles as one graph.

    Raises:
        ValueError: if a number is not positive, or for inputs other than ``(B, C, H, W)``.

    References:
        Hoogeboom, Garcia Satorras, Tomczak, Welling, "The convolution exponential and generalized Sylvester
        flows", NeurIPS 2020.

    Example:
        >>> import torch
        >>> from logprob.flows import ConvolutionExponential
        >>> layer = ConvolutionExponential(3, (4, 5)).eval()
        >>> x = torch.randn(2, 3, 4, 5)
        >>> z, ladj = layer(x)
        >>> torch.allclose(layer.inverse(z), x, atol=1e-5)
        True
    """

    event_dim = 3

    def __init__(
        self,
        channels: int,
        image_size: int | tuple[int, int],
        terms: int = 6,
        eval_terms: int = 13,
        norm: float = 0.9,
        tolerance: float | None = None,
    ) -> None:
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if min(channels, height, width, terms, eval_terms) < 1 or norm <= 0:
            raise ValueError("channels, image_size, terms, eval_terms and norm must be positive")
        if tolerance is not None and tolerance <= 0:
            raise ValueError(f"tolerance must be positive or None, got {tolerance}")
        self.shape = (channels, height, width)
        self.terms, self.eval_terms, self.norm, self.tolerance = terms, eval_terms, norm, tolerance
        self.kernel = nn.Parameter(torch.randn(channels, channels, 3, 3) / (9 * channels))
        for name in ("u", "v"):
            start = torch.randn(1, *self.shape)
            self.register_buffer(name, start / start.norm())
        self.register_buffer("seen_kernel", self.kernel.detach().clone())
        self.u: Tensor
        self.v: Tensor
        self.seen_kernel: Tensor
        self.tighten()

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``z`` of shape ``(B, C, H, W)``, up to the cut of the series, and the log-determinant ``(B,)``."""
        self.output_shape(tuple(x.shape[1:]))
        kernel = self.rescaled_kernel(step=self.training)
        terms, tolerance = (self.terms, None) if self.training else (self.eval_terms, self.tolerance)
        ladj = kernel[:, :, 1, 1].diagonal().sum() * (x.shape[2] * x.shape[3])
        return convolution_exponential(x, kernel, terms, tolerance), ladj.expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """``exp(-K) z`` by ``eval_terms`` terms, whatever the method; differentiable."""
        self.input_shape(tuple(z.shape[1:]))
        return convolution_exponential(z, -self.rescaled_kernel(), self.eval_terms, self.tolerance)

    def rescaled_kernel(self, step: bool = False) -> Tensor:
        """The kernel in use, ``(C, C, 3, 3)``; gradients see ``sigma`` too, for constant ``u`` and ``v``.

        Args:
            step: whether the power iteration may move first.
        """
        # Never the buffers themselves: a later step must not change what this pass keeps for its backward.
        with torch.autocast(self.kernel.device.type, enabled=False):  # the norm keeps the precision of the kernel
            u, v = self._step() if step else (self.u.clone(), self.v.clone())
            return rescale(self.kernel, u, v, self.norm)

    @torch.no_grad()
    def tighten(self, iterations: int = 100) -> None:
        """Let the power iteration take many steps, so that ``norm`` holds as well as can be."""
        u, v = self.u, self.v
        for _ in range(iterations):
            u, v = power_step(self.kernel, u, v)
        self._keep(u, v)

    def synchronize(self) -> None:
        """Fit the power iteration to the present kernel."""
        self.tighten()

    @torch.no_grad()
    def _step(self) -> tuple[Tensor, Tensor]:
        same = (self.kernel == self.seen_kernel).all()  # stays a tensor: no wait for the device
        u, v = power_step(self.kernel, self.u, self.v)
        u, v = torch.where(same, self.u, u), torch.where(same, self.v, v)
        if not torch._C._are_functorch_transforms_active():
            self._keep(u, v)
        return u, v

    def _keep(self, u: Tensor, v: Tensor) -> None:
        self.u.copy_(u)
        self.v.copy_(v)
        self.seen_kernel.copy_(self.kernel)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, if it is the layer's."""
        if tuple(shape) != self.shape:
            raise ValueError(f"expected events of shape {self.shape}, got {tuple(shape)}")
        return shape

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, if it is the layer's."""
        return self.output_shape(shape)

    def extra_repr(self) -> str:
        """Shape, terms and norm."""
        return f"{self.shape}, terms={self.terms}, eval_terms={self.eval_terms}, norm={self.norm}"


class BiasMap(FlowLayer):
    """``z = x + b`` with a bias for every entry of the event, zero at the start.

    Args:
        shape: of the event.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.event_dim = len(shape)
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Sum and zeros ``(B,)``."""
        self.output_shape(tuple(x.shape[1:]))
        return x + self.bias, x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Subtract."""
        self.input_shape(tuple(z.shape[1:]))
        return z - self.bias

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, if it is that of the bias."""
        if tuple(shape) != tuple(self.bias.shape):
            raise ValueError(f"expected events of shape {tuple(self.bias.shape)}, got {tuple(shape)}")
        return shape

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, if it is that of the bias."""
        return self.output_shape(shape)


class ExponentialConv2d(Sequential):
    """Bias map, mixing of the channels, :class:`ConvolutionExponential` (see there), bias map.

    Args:
        channels: C.
        image_size: ``(H, W)``, or one number for both.
        terms: of the series in training mode.
        eval_terms: of the series in evaluation mode, and of the inverse.
        norm: largest operator norm of the convolution.
        tolerance: outside training, stop the series as soon as no entry of a term exceeds it.
        mixing: layer for the channels; by default :class:`Conv1x1` up to 64 channels, and 64 Householder
            reflections above.

    Raises:
        ValueError: if a number is not positive, or for inputs other than ``(B, C, H, W)``.

    References:
        Hoogeboom, Garcia Satorras, Tomczak, Welling, "The convolution exponential and generalized Sylvester
        flows", NeurIPS 2020.

    Example:
        >>> import torch
        >>> from logprob.flows import ExponentialConv2d
        >>> z, ladj = ExponentialConv2d(3, 4)(torch.randn(2, 3, 4, 4))
    """

    def __init__(
        self,
        channels: int,
        image_size: int | tuple[int, int],
        terms: int = 6,
        eval_terms: int = 13,
        norm: float = 0.9,
        tolerance: float | None = None,
        mixing: FlowLayer | None = None,
    ) -> None:
        exponential = ConvolutionExponential(channels, image_size, terms, eval_terms, norm, tolerance)
        if mixing is None:
            mixing = Conv1x1(channels) if channels <= 64 else HouseholderConv1x1(channels, 64)
        super().__init__([BiasMap(exponential.shape), mixing, exponential, BiasMap(exponential.shape)])
