"""Glow: levels of normalisation, linear map and coupling, with half of the dimensions leaving after each."""

from __future__ import annotations

from collections.abc import Sequence

from logprob.distributions import DistributionModule
from logprob.flows.base import FlowLayer
from logprob.flows.convolution import ConvStart
from logprob.flows.convolutional import Convolution, convolution_layer
from logprob.flows.coupling import AffineCoupling2d
from logprob.flows.flow import Flow
from logprob.flows.normalization import ActNorm
from logprob.flows.reshape import Squeeze, image_shape_of
from logprob.flows.sequential import Sequential
from logprob.flows.split import Split


class Glow(Flow):
    """Multi-scale flow of images; a level is a squeeze and ``steps`` times normalisation, mixing and coupling.

    Behind each level but the last, a coupling and a :class:`Split` let half of the channels out. The latents are
    then vectors, those of the last level first; with ``split=False`` they are images.

    Args:
        image_shape: ``(channels, height, width)`` of what comes out of the preprocessing.
        blocks: number of levels.
        steps: number of steps of a level.
        width: channels inside the networks of the couplings.
        mixing: the linear map of a step, see :class:`ConvolutionalFlow`.
        kernel_size: of :class:`SelfNormalizingConv2d`; 1 mixes the channels only.
        init: start of :class:`SelfNormalizingConv2d`, by default the one that suits its kernel size.
        actnorm: whether a step begins with :class:`ActNorm`. Such a flow waits for :meth:`initialize`, or for a first
            batch in training.
        split: whether half of the dimensions leave after each level but the last.
        context_channels: size of the context that the couplings are given; 0 for an unconditional flow.
        preprocessing: fixed layers in front, counted in the density; with an :class:`Unflatten` at its end the rows
            are flattened images.
        base: distribution of the latents; by default the standard normal.

    Raises:
        ValueError: if a number is out of its range, the sides cannot be halved ``blocks`` times, or for an unknown
            name.

    References:
        Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", NeurIPS 2018;
        Keller et al., "Self Normalizing Flows", ICML 2021 (with self-normalizing mixing).

    Example:
        >>> import torch
        >>> flow = Glow((1, 4, 4), blocks=2, steps=2, width=8)
        >>> x = torch.randn(8, 1, 4, 4)
        >>> flow.initialize(x)
        >>> flow().log_prob(x).shape, flow().sample((3,)).shape, flow.latent_shape
        (torch.Size([8]), torch.Size([3, 1, 4, 4]), (16,))
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        blocks: int = 2,
        steps: int = 16,
        width: int = 512,
        mixing: Convolution = "self-normalizing",
        kernel_size: int = 1,
        init: ConvStart | None = None,
        actnorm: bool = True,
        split: bool = True,
        context_channels: int = 0,
        preprocessing: Sequence[FlowLayer] = (),
        base: DistributionModule | None = None,
    ) -> None:
        if blocks < 1 or steps < 1:
            raise ValueError(f"blocks and steps must be at least 1, got {blocks} and {steps}")

        def step(shape: tuple[int, int, int]) -> list[FlowLayer]:
            first: list[FlowLayer] = [ActNorm(shape[0])] if actnorm else []
            return [*first, convolution_layer(mixing, shape, kernel_size, init), coupling(shape)]

        def coupling(shape: tuple[int, int, int]) -> FlowLayer:
            return AffineCoupling2d(shape[0], width, context_channels)

        def levels(shape: tuple[int, int, int], count: int) -> list[FlowLayer]:
            squeeze = Squeeze()
            shape = squeeze.output_shape(shape)
            level: list[FlowLayer] = [squeeze, *(layer for _ in range(steps) for layer in step(shape))]
            if count == 1:
                return level
            if not split:
                return [*level, *levels(shape, count - 1)]
            inner = Sequential(levels((shape[0] // 2, *shape[1:]), count - 1))
            return [*level, Split(inner, shape, coupling(shape))]

        image = image_shape_of(image_shape)
        super().__init__(levels(image, blocks), Sequential(preprocessing).input_shape(image), base, preprocessing)
