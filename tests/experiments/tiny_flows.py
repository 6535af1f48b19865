"""Small flows put together from layers; recipes name them by `imports: [tiny_flows]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.flows.base import FlowLayer
from logprob.flows.convolution import SelfNormalizingConv2d
from logprob.flows.coupling import AffineCoupling2d
from logprob.flows.dequantization import Dequantized
from logprob.flows.flow import Flow
from logprob.flows.linear import SelfNormalizingLinear
from logprob.flows.preprocessing import PixelLogits
from logprob.flows.reshape import Flatten, Squeeze, Unflatten


class FlowBound:
    """A bound of the log-likelihood of pixels."""

    def __call__(self, model: DistributionModule, batch: Batch) -> dict[str, float]:
        distribution: Any = model()
        generator = torch.Generator().manual_seed(0)
        return {"log_likelihood": distribution.log_prob_bound(batch.x, generator=generator).mean().item()}


class Stack(DistributionModule):
    """Holds a list of modules."""

    def __init__(self, parts: Sequence[DistributionModule]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)


def dense_flow(variables: int) -> Flow:
    """One linear layer."""
    return Flow([SelfNormalizingLinear(variables)], variables)


def image_flow(image_shape: tuple[int, int, int], categories: int, kernel: int = 3, dense: bool = False) -> Dequantized:
    """Convolutions, a coupling and perhaps a linear layer, of dequantised pixels."""
    channels, height, width = image_shape
    layers: list[FlowLayer] = [
        SelfNormalizingConv2d(channels, kernel),
        Squeeze(),
        SelfNormalizingConv2d(4 * channels, kernel),
        AffineCoupling2d(4 * channels, width=8),
    ]
    size = channels * height * width
    if dense:
        layers += [Flatten(image_shape=(4 * channels, height // 2, width // 2)), SelfNormalizingLinear(size)]
    flow = Flow(layers, size, preprocessing=[PixelLogits(categories), Unflatten(image_shape)])
    torch.nn.init.normal_(torch.empty(1))  # an initialisation that draws, as most do
    return Dequantized(flow, categories)
