"""The flow of fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

from logprob.distributions import DistributionModule
from logprob.flows.base import FlowLayer
from logprob.flows.flow import Flow
from logprob.flows.linear import LogDet, SelfNormalizingLinear, Start
from logprob.flows.sequential import Sequential
from logprob.flows.spline_activation import Activation
from logprob.flows.spline_activation import activation as elementwise


class DenseFlow(Flow):
    """Linear layers ``D -> D`` with an elementwise activation between them.

    Args:
        variables: number D of dimensions.
        depth: number of linear layers.
        activation: between them.
        log_det: how the linear layers form the gradient of their log-determinant in training, see
            :class:`SelfNormalizingLinear`.
        preprocessing: fixed layers in front, counted in the density.
        init: start of the linear layers.
        base: distribution of the latents; by default the standard normal.

    Raises:
        ValueError: if a number is below 1, or for an unknown name.

    References:
        Keller et al., "Self Normalizing Flows", ICML 2021 (with depth 2).

    Example:
        >>> import torch
        >>> flow = DenseFlow(4, depth=3)
        >>> flow().log_prob(torch.randn(8, 4)).shape
        torch.Size([8])
    """

    def __init__(
        self,
        variables: int,
        depth: int = 2,
        activation: Activation = "smooth-leaky-relu",
        log_det: LogDet = "self-normalizing",
        preprocessing: Sequence[FlowLayer] = (),
        init: Start = "identity",
        base: DistributionModule | None = None,
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        layers: list[FlowLayer] = []
        for _ in range(depth):
            layers += [SelfNormalizingLinear(variables, log_det, init=init), elementwise(activation, (variables,))]
        super().__init__(layers[:-1], Sequential(preprocessing).input_shape((variables,)), base, preprocessing)
