"""The circuit: a module of parameters whose forward pass gives a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from logprob.circuits.distribution import CircuitDistribution, CircuitState
from logprob.circuits.initializers import Initializer, Uniform
from logprob.circuits.inputs import InputFamily
from logprob.circuits.layers import LAYERS
from logprob.circuits.leaves import LeafUnits
from logprob.circuits.region_graph import RegionGraph
from logprob.circuits.schedule import make_schedule
from logprob.distributions import DistributionModule


class Circuit(DistributionModule):
    """A probabilistic circuit: a polynomial with exact integrals, made into a density.

    Along a tree over the variables the circuit computes ``c(x)`` by products of the children's units and weighted
    sums. ``squared=True`` gives ``p(x) = c(x)^2 / Z`` with weights of either sign: components can be subtracted.
    ``squared=False`` with positive weights gives the usual mixture ``p(x) = c(x) / Z``. Z, every marginal and every
    missing value are integrated exactly. Repetitions r are mixed with weights ``a_r > 0``:
    ``p = sum_r a_r s_r(x) / sum_r a_r Z_r``.

    Args:
        graph: how the variables are split.
        inputs: family of the input units, one for all variables or a sequence of one per variable.
        units: units K of each region.
        layer: ``"cp"`` (elementwise products) or ``"tucker"`` (all pairs).
        squared: whether the density is the square of the circuit.
        weights: ``"signed"`` or ``"positive"`` (stored as logarithms); by default signed if squared, else positive.
        init: law of the initial weights and coefficients.
        input_mixture: whether a ``K x K`` sum stands directly above each input region.

    Raises:
        ValueError: if the circuit is not squared but signed, if ``init`` is signed and the weights are not, or if
            the number of families is not the number of variables.

    References:
        Loconte et al., "Subtractive Mixture Models via Squaring: Representation and Learning", ICLR 2024.

    Example:
        >>> import torch
        >>> from logprob.circuits import Circuit, Gaussian, random_binary_tree
        >>> model = Circuit(random_binary_tree(4), Gaussian(), units=8)
        >>> p = model()
        >>> x = torch.randn(5, 4)
        >>> p.log_prob(x).shape, p.log_partition.shape
        (torch.Size([5]), torch.Size([]))
        >>> x[0, 1] = torch.nan  # a missing value
        >>> torch.allclose(p.log_prob(x)[0], p.marginal([0, 2, 3]).log_prob(x[0, [0, 2, 3]]), atol=1e-5)
        True
    """

    def __init__(
        self,
        graph: RegionGraph,
        inputs: InputFamily | Sequence[InputFamily],
        units: int = 64,
        layer: Literal["cp", "tucker"] = "cp",
        squared: bool = True,
        weights: Literal["signed", "positive"] | None = None,
        init: Initializer | None = None,
        input_mixture: bool = False,
    ) -> None:
        super().__init__()
        _check_instances(inputs, init)
        init = Uniform() if init is None else init
        weights = ("signed" if squared else "positive") if weights is None else weights
        families = [inputs] * graph.variables if isinstance(inputs, InputFamily) else list(inputs)
        _check_arguments(graph, families, units, layer, squared, weights, init)
        self.variables = graph.variables
        self.units = units
        self.squared = squared
        self.positive = weights == "positive"
        self.layer = layer
        self.families = tuple(families)
        self.schedule = make_schedule(graph)
        scopes = [graph.scopes[region] for region in self.schedule.leaves]
        self.inputs = LeafUnits(families, scopes, units, self.positive, init)
        shapes = [
            (len(level.splits), *LAYERS[layer].weight_shape(1 if depth == 0 else units, units))
            for depth, level in enumerate(self.schedule.levels)
            if level.splits
        ]
        self.weights = nn.ParameterList(self._weight(init, shape) for shape in shapes)
        root_is_leaf = not self.schedule.levels[0].splits
        self.input_mixture = (
            self._weight(init, (len(scopes), 1 if root_is_leaf else units, units))
            if input_mixture or root_is_leaf
            else None
        )
        self.repetition_logits = nn.Parameter(torch.zeros(len(graph.roots))) if len(graph.roots) > 1 else None

    def initialize(self, x: Tensor) -> None:
        """Set what the input units take from the training rows ``x`` ``(N, D)``, such as spline intervals.

        Raises:
            ValueError: if the rows do not have D variables, or a variable does not span an interval.
        """
        if x.dim() != 2 or x.shape[1] != self.variables:
            raise ValueError(f"expected training rows of shape (N, {self.variables}), got {tuple(x.shape)}")
        with torch.no_grad():
            self.inputs.fit_buffers(x)

    def forward(self, context: Tensor | None = None) -> CircuitDistribution:
        """The distribution of the present parameters; it keeps copies of its own.

        Raises:
            ValueError: if ``context`` is given; a circuit has none.
            RuntimeError: if the input units still wait for :meth:`initialize`.
        """
        if context is not None:
            raise ValueError("a circuit takes no context; the log-density of rows x is model().log_prob(x)")
        return CircuitDistribution(
            CircuitState(
                schedule=self.schedule,
                families=self.families,
                layer=LAYERS[self.layer],
                leaves=self.inputs(),
                weights=tuple(self._linear(weight) for weight in self.weights),
                input_mixture=None if self.input_mixture is None else self._linear(self.input_mixture),
                repetition_logits=None if self.repetition_logits is None else self.repetition_logits.clone(),
                squared=self.squared,
            )
        )

    def _weight(self, init: Initializer, shape: tuple[int, ...]) -> nn.Parameter:
        value = init(*shape)
        return nn.Parameter(value.log() if self.positive else value)

    def _linear(self, weight: Tensor) -> Tensor:
        return weight.exp() if self.positive else weight.clone()

    def extra_repr(self) -> str:
        """One line for ``print(model)``."""
        kind = "squared" if self.squared else "monotonic"
        sign = "positive" if self.positive else "signed"
        return f"{kind}, variables={self.variables}, units={self.units}, layer={self.layer}, weights={sign}"


def _check_instances(inputs: object, init: object) -> None:
    """Classes are easily given in place of their instances, which recipes make by themselves."""
    items = inputs if isinstance(inputs, Sequence) else [inputs]
    for item, base, name in [
        *((item, InputFamily, "inputs") for item in items),
        (init or Uniform(), Initializer, "init"),
    ]:
        if isinstance(item, type) and issubclass(item, base):
            raise TypeError(f"{name}: expected an instance such as {item.__name__}(...), got the class {item.__name__}")
        if not isinstance(item, base):
            raise TypeError(f"{name}: expected {base.__name__}, got {type(item).__name__}")


def _check_arguments(
    graph: RegionGraph,
    families: Sequence[InputFamily],
    units: int,
    layer: str,
    squared: bool,
    weights: str,
    init: Initializer,
) -> None:
    if len(families) != graph.variables:
        raise ValueError(f"expected one input family or {graph.variables}, one per variable; got {len(families)}")
    if units < 1:
        raise ValueError(f"units must be at least 1, got {units}")
    if layer not in LAYERS:
        raise ValueError(f"layer must be one of {sorted(LAYERS)}, got {layer!r}")
    if weights not in ("signed", "positive"):
        raise ValueError(f"weights must be 'signed' or 'positive', got {weights!r}")
    if weights == "signed" and not squared:
        raise ValueError("a circuit with signed weights must be squared: its values can be negative")
    if weights == "positive" and init.signed:
        raise ValueError(f"{init} draws negative values, and this circuit stores the logarithms of its weights")
