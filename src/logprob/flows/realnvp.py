"""RealNVP for vectors."""

from __future__ import annotations

from collections.abc import Sequence

from logprob.distributions import DistributionModule
from logprob.flows.element_maps import AffineMap
from logprob.flows.flow import Flow
from logprob.flows.vector_coupling import Coupling
from logprob.nn import Nonlinearity


class RealNVP(Flow):
    """Affine couplings that change one half of the features and the other in turn.

    Args:
        variables: number of variables, at least 2.
        transforms: number of couplings.
        hidden: widths of the hidden layers of their networks.
        context: width of the context, 0 for an unconditional density.
        activation: nonlinearity of the networks.
        base: distribution of the latents, by default the standard normal.

    Raises:
        ValueError: for fewer than 2 variables.

    References:
        Dinh, Sohl-Dickstein and Bengio, "Density Estimation using Real NVP", ICLR 2017.

    Example:
        >>> import torch
        >>> flow = RealNVP(6)
        >>> flow().log_prob(torch.randn(4, 6)).shape, flow().sample((3,)).shape
        (torch.Size([4]), torch.Size([3, 6]))
    """

    def __init__(
        self,
        variables: int,
        transforms: int = 4,
        hidden: Sequence[int] = (128, 128),
        context: int = 0,
        activation: Nonlinearity = "relu",
        base: DistributionModule | None = None,
    ) -> None:
        layers = [
            Coupling(variables, AffineMap(), hidden, context, bool(number % 2), activation)
            for number in range(transforms)
        ]
        super().__init__(layers, variables, base)
