"""Affine coupling of images: half of the channels scale and shift the other half."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from logprob.flows.base import FlowLayer, InverseMethod


class ZeroConv2d(nn.Module):
    """A 3 x 3 convolution that starts at zero, with a learned scale: ``exp(3 l_c) (K * x + b)_c``.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.log_scale = nn.Parameter(torch.zeros(outputs))
        nn.init.zeros_(self.convolution.weight)
        assert self.convolution.bias is not None
        nn.init.zeros_(self.convolution.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The scaled convolution."""
        result: Tensor = self.convolution(x) * (3 * self.log_scale).exp()[:, None, None]
        return result


class AffineCoupling2d(FlowLayer):
    """``z2 = x2 exp(s) + t`` with ``(s, t)`` computed from the other half ``x1`` of the channels, ``z1 = x1``.

    A network of three convolutions gives ``h`` with as many channels as the image: ``s = 2 tanh(h_even / 2)``,
    ``t = h_odd``, ``ladj = sum s``. Its last convolution starts at zero, so the layer starts as the identity.

    Args:
        channels: of the image, an even number.
        width: channels between the convolutions.
        context_channels: channels of a context that the network is given beside ``x1``; 0 ignores a context.

    Shapes: ``x`` is ``(B, channels, H, W)``; the context ``(B, context_channels, H, W)``, or
    ``(B, context_channels)`` for all positions alike.

    Raises:
        ValueError: if ``channels`` is odd, or an input or its context has another shape.

    References:
        Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", NeurIPS 2018.

    Example:
        >>> import torch
        >>> layer = AffineCoupling2d(4, width=8)
        >>> z, ladj = layer(torch.randn(2, 4, 6, 6))
        >>> z.shape, ladj
        (torch.Size([2, 4, 6, 6]), tensor([0., 0.], grad_fn=<SumBackward1>))
    """

    event_dim = 3

    def __init__(self, channels: int, width: int = 512, context_channels: int = 0) -> None:
        super().__init__()
        if channels < 2 or channels % 2:
            raise ValueError(f"channels must be an even number: half of them set the other half; got {channels}")
        if width < 1 or context_channels < 0:
            raise ValueError(f"width must be positive and context_channels not negative: {width}, {context_channels}")
        self.channels, self.width, self.context_channels = channels, width, context_channels
        self.network = nn.Sequential(
            nn.Conv2d(channels // 2 + context_channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            ZeroConv2d(width, channels),
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The images with their second half scaled and shifted, and ``sum s``."""
        self.output_shape(tuple(x.shape[1:]))
        x1, x2 = x.chunk(2, dim=1)
        log_scale, shift = self._scale_and_shift(x1, context)
        return torch.cat([x1, x2 * log_scale.exp() + shift], 1), log_scale.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """``x2 = (z2 - t) exp(-s)``."""
        self.input_shape(tuple(z.shape[1:]))
        z1, z2 = z.chunk(2, dim=1)
        log_scale, shift = self._scale_and_shift(z1, context)
        return torch.cat([z1, (z2 - shift) * (-log_scale).exp()], 1)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, checked."""
        if len(shape) != 3 or shape[0] != self.channels:
            raise ValueError(f"expected an image of {self.channels} channels (C, H, W), got shape {tuple(shape)}")
        return shape

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, checked."""
        return self.output_shape(shape)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"channels={self.channels}, width={self.width}, context_channels={self.context_channels}"

    def _scale_and_shift(self, x1: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.context_channels:
            x1 = torch.cat([x1, self._context_image(x1, context)], 1)
        h = self.network(x1)
        return 2 * (h[:, 0::2] / 2).tanh(), h[:, 1::2]

    def _context_image(self, x1: Tensor, context: Tensor | None) -> Tensor:
        shape = (len(x1), self.context_channels, *x1.shape[2:])
        if context is None:
            raise ValueError(f"this coupling needs a context of shape {shape} or {shape[:2]}, got none")
        if tuple(context.shape) == shape[:2]:
            context = context[:, :, None, None].expand(shape)
        if tuple(context.shape) != shape:
            raise ValueError(f"expected a context of shape {shape} or {shape[:2]}, got {tuple(context.shape)}")
        return context
