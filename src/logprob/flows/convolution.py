"""The self-normalizing convolution: an invertible ``nn.Conv2d`` that trains without a determinant."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from logprob.flows.base import DEFAULT_OPTIONS, Energy, InverseMethod, Surrogate, SurrogateOptions, check_method
from logprob.flows.conv_geometry import ConvGeometry, same_size
from logprob.flows.conv_log_det import conv_log_det, conv_solve
from logprob.flows.inverse_kernel import best_inverse_kernel
from logprob.flows.inverse_weight import InverseWeightLayer, check_name
from logprob.flows.refinement import refine
from logprob.flows.self_normalizing_conv import relative_conv2d, self_normalizing_conv2d

ConvLogDet = Literal["self-normalizing", "resync", "exact", "constant", "relative", "probe"]
ConvStart = Literal["identity-noise", "orthogonal", "identity", "flip"]
UNKNOWN_IMAGE = (12, 12)  # stands in for the image size where R is first made before any image is seen


class SelfNormalizingConv2d(InverseWeightLayer):
    """``z = W * x + b`` of images ``(B, C, H, W)``, with the kernel R of a learned inverse beside that of W.

    ``layer(x)`` is exact: ``ladj = log|det T|`` of the operator T of W on the image. Training calls
    :meth:`surrogate`, where the gradient of the log-determinant comes as ``log_det`` says:

    ========================  ============================================================================
    ``log_det``               gradient of ``log|det T|`` with respect to W in the surrogate
    ========================  ============================================================================
    ``"self-normalizing"``    ``flip(R) m``, m the number of positions of each tap; R is trained
    ``"resync"``              the same; R is no parameter, and must be synchronised every 10 to 20 steps
    ``"exact"``               the exact one, at the cost of ``layer(x)``; no R is kept
    ``"probe"``               unbiased, from ``probes`` random vectors and a solve for each; no R is kept
    ``"relative"``            1x1 kernels only: that of data and log-determinant, times ``W^T W`` from the right
    ``"constant"``            zero, for objectives that know no normaliser (score matching); no R is kept
    ========================  ============================================================================

    The inverse of a zero-padded k x k convolution is no k x k convolution. At its best R the gradient is nearly the
    exact one for kernels near the identity; for strong kernels take ``"probe"`` or ``"exact"``. Dilation takes
    images apart into smaller ones, which makes the exact quantities cheaper.

    Args:
        channels: number C of inputs and outputs.
        kernel_size: odd, one for both axes or ``(kh, kw)``.
        log_det: the gradient, as above. It can be set again later, before the optimizer is made.
        bias: whether ``b`` is there. It starts at ``N(0, s^2)``, s the standard deviation of what is random in W
            (of W itself for a 1x1 kernel).
        dilation: distance of neighbouring taps, one for both axes or two.
        groups: number of groups of channels, each mapped to itself.
        padding_mode: ``"zeros"`` or ``"circular"``; the output is as large as the input.
        image_size: ``(H, W)``; by default that of the first image seen. :meth:`synchronize` needs it.
        init: start of W. ``"identity-noise"``: the identity and Xavier normal noise of gain 0.01;
            ``"orthogonal"``: a random orthogonal map of the channels of each pixel; ``"identity"``; ``"flip"``: as
            the first, but with the published start ``flip(W)`` of R. By default ``"orthogonal"`` for 1x1 kernels
            and ``"identity-noise"`` for others. But for ``"flip"``, R starts as the best kernel.
        probes: number of random vectors of ``"probe"``.
        stride: 1, as the output must be as large as the input.
        padding: ``"same"``, or the number that means the same.

    Attributes:
        weight: W, ``(C, C/groups, kh, kw)``.
        inverse_weight: R, of the same shape: a parameter, a buffer, or None, as the mode wants.
        bias: ``(C,)`` or None.
        image_size: ``(H, W)``, or None as long as it is not known; kept in the state.
        cached_log_det: ``log|det T|`` at the last :meth:`synchronize`, a scalar buffer; infinite before.

    Raises:
        ValueError: for an even kernel or another stride or padding, channels that groups do not divide, an unknown
            name, or images of another number of channels.

    References:
        T. A. Keller et al., Self Normalizing Flows, ICML 2021.

    Example:
        >>> import torch
        >>> layer = SelfNormalizingConv2d(2, kernel_size=3)
        >>> x = torch.randn(5, 2, 6, 7)
        >>> z, ladj = layer(x)
        >>> z.shape, ladj.shape, torch.allclose(layer.inverse(z), x, atol=1e-5)
        (torch.Size([5, 2, 6, 7]), torch.Size([5]), True)
        >>> z, ladj, energies = layer.surrogate(x)
        >>> ((z**2 / 2).sum((1, 2, 3)) - ladj).mean().add(energies[0].value).backward()
        >>> layer.weight.grad.shape, layer.inverse_weight.grad.shape
        (torch.Size([2, 2, 3, 3]), torch.Size([2, 2, 3, 3]))
    """

    event_dim = 3

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int] = 3,
        log_det: ConvLogDet = "self-normalizing",
        bias: bool = True,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        padding_mode: Literal["zeros", "circular"] = "zeros",
        image_size: tuple[int, int] | None = None,
        init: ConvStart | None = None,
        probes: int = 16,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | Literal["same"] = "same",
    ) -> None:
        super().__init__()
        if probes < 1:
            raise ValueError(f"probes must be at least 1, got {probes}")
        self.channels, self.probes = channels, probes
        self.geometry = same_size(channels, kernel_size, dilation, groups, padding_mode, stride, padding)
        self.image_size = None if image_size is None else (int(image_size[0]), int(image_size[1]))
        self._check_log_det(log_det)
        self._log_det = log_det
        start = init or ("orthogonal" if self.geometry.kernel_size == (1, 1) else "identity-noise")
        weight, deviation = _start(channels, self.geometry, start)
        self.weight = nn.Parameter(weight)
        inverse = self.geometry.flip(weight) if start == "flip" else self._best_inverse()
        self._hold_inverse(inverse)
        self.bias = nn.Parameter(deviation * torch.randn(channels)) if bias else None
        self.register_buffer("cached_log_det", torch.tensor(torch.inf))
        if self.image_size is not None:
            self.cached_log_det.copy_(conv_log_det(weight, self.image_size, self.geometry))

    def extra_repr(self) -> str:
        """Size and mode."""
        kernel, dilation, groups, circular = self.geometry
        return (
            f"{self.channels}, kernel_size={kernel}, log_det={self.log_det!r}, bias={self.bias is not None}, "
            f"dilation={dilation}, groups={groups}, padding_mode={'circular' if circular else 'zeros'!r}"
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact ``(W * x + b, log|det T|)``; see :func:`logprob.flows.conv_log_det.conv_log_det` for the cost."""
        ladj = conv_log_det(self.weight, self._see(x), self.geometry)
        return self.geometry.apply(x, self.weight, self.bias), ladj.expand(len(x))

    def surrogate(
        self, x: Tensor, context: Tensor | None = None, options: SurrogateOptions = DEFAULT_OPTIONS
    ) -> Surrogate:
        """Exact output; a log-determinant of which only the gradient means anything; the energy of R.

        Options other than the value concern the modes that keep R; the energy belongs to the one that trains it.
        """
        if self.log_det == "exact":
            return Surrogate(*self(x))
        height, width = self._see(x)
        value = self._value((height, width), options)
        if self.log_det == "relative":
            z, ladj = relative_conv2d(x, self.weight, self.bias, self.geometry, value)
            return Surrogate(z, ladj.expand(len(x)))
        if self.log_det in ("constant", "probe"):
            ladj = value if self.log_det == "constant" else value + self._probe(x)
            return Surrogate(self.geometry.apply(x, self.weight, self.bias), ladj.expand(len(x)))
        inverse, options = self._require_inverse(), self._without_penalty(options)
        z, ladj, energy = self_normalizing_conv2d(x, self.weight, inverse, self.bias, self.geometry, options, value)
        energies = () if energy is None else (Energy(energy, self.channels * height * width),)
        return Surrogate(z, ladj.expand(len(x)), energies)

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """``T^-1 (z - b)`` by elimination, or ``R * (z - b)``, or the latter refined until it is exact."""
        check_method(method)
        self._see(z)
        shifted = z if self.bias is None else z - self.bias[:, None, None]
        if method == "exact":
            return self._solve(shifted)
        kernel, geometry = self._require_inverse(), self.geometry
        if method == "approximate":
            return geometry.apply(shifted, kernel)
        return refine(
            shifted, lambda x: geometry.apply(x, self.weight), lambda r: geometry.apply(r, kernel), self._solve
        )

    @torch.no_grad()
    def synchronize(self) -> None:
        """Set R to the best kernel (for 1x1 and the full torus: the exact inverse), and ``cached_log_det``.

        Raises:
            ValueError: if the image size is not known yet, and R depends on it.
            torch.linalg.LinAlgError: if W is singular.
        """
        size = self.image_size
        if size is None and self.geometry.kernel_size != (1, 1):
            raise ValueError("synchronize() needs the image size: give image_size, or call the layer on images first")
        if self.inverse_weight is not None:
            self._set_inverse(self._best_inverse())
        if size is not None:
            self.cached_log_det.copy_(conv_log_det(self.weight, size, self.geometry))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, ``(C, H, W)``."""
        self._check(shape)
        return shape

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, ``(C, H, W)``."""
        self._check(shape)
        return shape

    def get_extra_state(self) -> Tensor:
        """The image size, for ``state_dict``; zeros as long as it is not known."""
        return torch.tensor(self.image_size or (0, 0))

    def set_extra_state(self, state: Tensor) -> None:
        """Take the image size of a ``state_dict``, if it has one."""
        height, width = state.tolist()
        self.image_size = (height, width) if height else self.image_size

    def _see(self, x: Tensor) -> tuple[int, int]:
        """Check images, and remember the size of the first; a Python number, so that it survives any transform."""
        if x.dim() != 4:
            raise ValueError(f"expected images of shape (B, {self.channels}, H, W), got {tuple(x.shape)}")
        self._check(tuple(x.shape[1:]))
        size = (x.shape[2], x.shape[3])
        if self.image_size is None:
            self.image_size = size
        return size

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3 or shape[0] != self.channels:
            raise ValueError(f"expected images of shape ({self.channels}, H, W), got {tuple(shape)}")
        reach = [2 * padding + 1 for padding in self.geometry.padding]
        if self.geometry.circular and (shape[1] < reach[0] or shape[2] < reach[1]):
            raise ValueError(f"circular padding needs images of at least {tuple(reach)}, got {tuple(shape[1:])}")

    def _check_log_det(self, name: str) -> None:
        check_name(name, get_args(ConvLogDet))
        if name == "relative" and self.geometry.kernel_size != (1, 1):
            raise ValueError(
                f"log_det='relative' needs a 1x1 kernel, got {self.geometry.kernel_size}: "
                "use 'probe' or 'self-normalizing'"
            )

    def _solve(self, shifted: Tensor) -> Tensor:
        return conv_solve(shifted, self.weight, self.geometry)

    def _value(self, image_size: tuple[int, int], options: SurrogateOptions) -> Tensor:
        if options.value == "cached":
            if image_size != self.image_size:
                raise ValueError(f"the cached log-determinant is that of images {self.image_size}, got {image_size}")
            return self.cached_log_det.clone()
        if options.value == "exact":
            return conv_log_det(self.weight.detach(), image_size, self.geometry)
        return torch.zeros((), dtype=self.weight.dtype, device=self.weight.device)

    def _probe(self, x: Tensor) -> Tensor:
        """Zero, with an unbiased gradient: ``E[(T^-t v) v^t] = T^-t`` for random signs v."""
        with torch.no_grad():
            signs = torch.randint(2, (self.probes, *x.shape[1:]), device=x.device).to(self.weight) * 2 - 1
            solved = conv_solve(signs, self.geometry.flip(self.weight), self.geometry)
            gradient = self.geometry.kernel_gradient(solved, signs) / self.probes
        return (gradient * (self.weight - self.weight.detach())).sum()

    def _best_inverse(self) -> Tensor:
        return best_inverse_kernel(self.weight.detach(), self.image_size or UNKNOWN_IMAGE, self.geometry)


def _start(channels: int, geometry: ConvGeometry, init: str) -> tuple[Tensor, float]:
    """A start of W, and the standard deviation of the bias."""
    (kh, kw), groups = geometry.kernel_size, geometry.groups
    width = channels // groups
    weight = torch.zeros(channels, width, kh, kw)
    centre = weight[:, :, kh // 2, kw // 2]
    if init == "orthogonal":
        centre.copy_(torch.cat([nn.init.orthogonal_(torch.empty(width, width)) for _ in range(groups)]))
        return weight, 0.0 if width == 1 else centre.std(correction=0).item()
    centre.copy_(torch.eye(width).repeat(groups, 1))
    if init == "identity":
        return weight, 0.0 if width == 1 else centre.std(correction=0).item()
    if init in ("identity-noise", "flip"):
        noise = nn.init.xavier_normal_(torch.empty_like(weight), gain=0.01)
        return weight + noise, 0.0 if noise.numel() == 1 else noise.std(correction=0).item()
    raise ValueError(f"init must be identity-noise, orthogonal, identity or flip, got {init!r}")
