"""The flow of convolutions, of any invertible kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from logprob.distributions import DistributionModule
from logprob.flows.base import FlowLayer
from logprob.flows.convolution import ConvLogDet, ConvStart, SelfNormalizingConv2d
from logprob.flows.emerging import EmergingConv2d
from logprob.flows.exponential import ExponentialConv2d
from logprob.flows.flow import Flow
from logprob.flows.mixing import Conv1x1, HouseholderConv1x1, LUConv1x1
from logprob.flows.reshape import Squeeze, image_shape_of
from logprob.flows.sequential import Sequential
from logprob.flows.spline_activation import Activation
from logprob.flows.spline_activation import activation as elementwise

Convolution = Literal[ConvLogDet, "emerging", "exponential", "1x1", "lu", "householder"]
"""``SelfNormalizingConv2d`` with this gradient of its log-determinant, or another kind of invertible convolution."""

_OTHERS: dict[str, Callable[[int, tuple[int, int]], FlowLayer]] = {
    "emerging": lambda channels, _: EmergingConv2d(channels),
    "exponential": lambda channels, size: ExponentialConv2d(channels, size),
    "1x1": lambda channels, _: Conv1x1(channels),
    "lu": lambda channels, _: LUConv1x1(channels),
    "householder": lambda channels, _: HouseholderConv1x1(channels, channels),
}


class ConvolutionalFlow(Flow):
    """Blocks of convolutions; every convolution but the last is followed by an elementwise activation.

    Between blocks the images are squeezed, so ``(C, H, W)`` becomes ``(4 C, H / 2, W / 2)``. The latents are images
    of the last block's shape.

    Args:
        image_shape: ``(channels, height, width)`` of what comes out of the preprocessing.
        blocks: number of blocks.
        depth: number of convolutions of a block.
        convolution: their kind. ``"self-normalizing"``, ``"exact"`` and the other names that
            :class:`SelfNormalizingConv2d` knows are that layer with such a gradient of its log-determinant; the rest
            stand for :class:`EmergingConv2d`, :class:`ExponentialConv2d`, :class:`Conv1x1`, :class:`LUConv1x1` and
            :class:`HouseholderConv1x1` with as many reflections as channels.
        activation: after each convolution but the last; ``"spline"`` has a spline of its own for every element.
        kernel_size: of :class:`SelfNormalizingConv2d`, odd; the other kinds have sizes of their own.
        init: start of :class:`SelfNormalizingConv2d`, by default the one that suits its kernel size.
        preprocessing: fixed layers in front, counted in the density; with an :class:`Unflatten` at its end the rows
            are flattened images.
        base: distribution of the latents; by default the standard normal.

    Raises:
        ValueError: if a number is below 1, the sides cannot be halved ``blocks - 1`` times, or for an unknown name.

    References:
        Keller et al., "Self Normalizing Flows", ICML 2021 (3 blocks of 3, compared with the other kinds).

    Example:
        >>> import torch
        >>> flow = ConvolutionalFlow((1, 4, 4), blocks=2, depth=1)
        >>> flow().log_prob(torch.randn(8, 1, 4, 4)).shape, flow.latent_shape
        (torch.Size([8]), (4, 2, 2))
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        blocks: int = 3,
        depth: int = 3,
        convolution: Convolution = "self-normalizing",
        activation: Activation = "spline",
        kernel_size: int = 3,
        init: ConvStart | None = None,
        preprocessing: Sequence[FlowLayer] = (),
        base: DistributionModule | None = None,
    ) -> None:
        if blocks < 1 or depth < 1:
            raise ValueError(f"blocks and depth must be at least 1, got {blocks} and {depth}")
        image = shape = image_shape_of(image_shape)
        layers: list[FlowLayer] = []
        for block in range(blocks):
            if block:
                squeeze = Squeeze()
                layers, shape = [*layers, squeeze], squeeze.output_shape(shape)
            for _ in range(depth):
                layers += [convolution_layer(convolution, shape, kernel_size, init), elementwise(activation, shape)]
        super().__init__(layers[:-1], Sequential(preprocessing).input_shape(image), base, preprocessing)


def convolution_layer(
    name: str, image_shape: tuple[int, int, int], kernel_size: int = 3, init: ConvStart | None = None
) -> FlowLayer:
    """A convolution of the kind ``name`` for images of ``image_shape``.

    Raises:
        ValueError: for an unknown name.
    """
    channels, height, width = image_shape
    if name not in get_args(Convolution):
        raise ValueError(f"the convolution must be one of {', '.join(get_args(Convolution))}; got {name!r}")
    if name in _OTHERS:
        return _OTHERS[name](channels, (height, width))
    log_det: Any = name
    return SelfNormalizingConv2d(channels, kernel_size, log_det, image_size=(height, width), init=init)
