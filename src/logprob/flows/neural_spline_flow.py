"""Neural spline flows for vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from logprob.distributions import DistributionModule
from logprob.flows.autoregressive import Autoregressive
from logprob.flows.base import FlowLayer
from logprob.flows.element_maps import SplineMap
from logprob.flows.flow import Flow
from logprob.flows.vector_coupling import Coupling
from logprob.nn import Nonlinearity

Kind = Literal["coupling", "autoregressive", "inverse-autoregressive"]


class NeuralSplineFlow(Flow):
    """Rational-quadratic splines whose parameters networks give; the identity outside an interval.

    The kinds differ in what takes one pass through the networks, and what takes one for each variable:

    - ``"coupling"``: density and samples take one pass; a transform changes one half of the variables, given the
      other, and the halves alternate;
    - ``"autoregressive"``: densities take one pass, samples one for each variable; all variables change;
    - ``"inverse-autoregressive"``: samples take one pass, densities one for each variable.

    Args:
        variables: number of variables; a coupling needs at least 2. Standardise them: what lies outside
            ``[-bound, bound]`` is left as it is.
        transforms: number of layers.
        bins: bins of a spline.
        bound: half the length of the interval.
        hidden: widths of the hidden layers of the networks.
        coupling: kind of the layers.
        context: width of the context, 0 for an unconditional density.
        activation: nonlinearity of the networks.
        base: distribution of the latents, by default the standard normal.

    Raises:
        ValueError: for a kind of another name, or numbers that :class:`SplineMap` or the layers refuse.

    References:
        Durkan, Bekasov, Murray and Papamakarios, "Neural Spline Flows", NeurIPS 2019.

    Example:
        >>> import torch
        >>> flow = NeuralSplineFlow(6)
        >>> flow().log_prob(torch.randn(4, 6)).shape, flow().sample((3,)).shape
        (torch.Size([4]), torch.Size([3, 6]))
    """

    def __init__(
        self,
        variables: int,
        transforms: int = 4,
        bins: int = 8,
        bound: float = 5.0,
        hidden: Sequence[int] = (128, 128),
        coupling: Kind = "coupling",
        context: int = 0,
        activation: Nonlinearity = "relu",
        base: DistributionModule | None = None,
    ) -> None:
        element = SplineMap(bins, bound)

        def layer(flip: bool) -> FlowLayer:
            if coupling == "coupling":
                return Coupling(variables, element, hidden, context, flip, activation)
            if coupling == "autoregressive":
                return Autoregressive(variables, element, "density", hidden, context, flip, activation)
            if coupling == "inverse-autoregressive":
                return Autoregressive(variables, element, "sampling", hidden, context, flip, activation)
            raise ValueError(f"coupling must be one of {', '.join(get_args(Kind))}, got {coupling!r}")

        super().__init__([layer(bool(number % 2)) for number in range(transforms)], variables, base)
