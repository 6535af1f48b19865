"""A network that scores, and a solver that decides: the law of structures given what the network sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

from logprob.discrete.noise import Noise
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers import Solver
from logprob.discrete.solvers.flattened import Flattened
from logprob.distributions import DistributionModule
from logprob.nn.residual import square_side

Scores = Callable[[int], nn.Module]


class StructuredModel(DistributionModule):
    """``x = solver(network(context) + temperature noise)``, a structure as a vector.

    The solver may be one of grids or matrices: its events are flattened, as rows of data are.

    Args:
        variables: numbers of a row, ``prod(shape)``.
        network: makes a network of ``(variables,)`` scores, or costs, from contexts ``(B, ...)``.
        solver: whose structures the rows are.
        noise: of the scores; without it the law is sure of one structure.
        temperature: of the noise.
        shape: of an event of the solver; the vector, or a square, if omitted.

    Raises:
        ValueError: if ``shape`` does not fit ``variables`` or the solver; when called, if the context is missing or
            the network gives another shape.

    Example:
        >>> import torch
        >>> from logprob.discrete.noise import Gumbel
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> from logprob.nn import MLP
        >>> model = StructuredModel(4, lambda outputs: MLP(3, outputs), TopK(2), Gumbel())
        >>> q = model(torch.randn(5, 3))
        >>> q.sample().sum(-1), q.mode.shape
        (tensor([2., 2., 2., 2., 2.]), torch.Size([5, 4]))
    """

    def __init__(
        self,
        variables: int,
        network: Scores,
        solver: Solver,
        noise: Noise | None = None,
        temperature: float = 1.0,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        shape = _shape(variables, solver) if shape is None else tuple(shape)
        if prod(shape) != variables:
            raise ValueError(f"expected a shape of {variables} numbers, got {shape}")
        self.variables, self.noise, self.temperature = variables, noise, temperature
        self.solver = Flattened(solver, shape) if solver.event_dim != 1 else solver
        self.network = network(variables)

    def forward(self, context: Tensor | None = None) -> PerturbAndMAP:
        """The law given contexts ``(B, ...)``; batch shape ``(B,)``, event shape ``(variables,)``."""
        scores = scores_of(self.network, context, self.variables)
        return PerturbAndMAP(scores, self.solver, self.noise, self.temperature)


class BernoulliCells(DistributionModule):
    """Independent cells, each 1 with a probability that a network gives: what knows nothing of structures.

    Trained by :class:`~logprob.objectives.NegativeLogLikelihood`, which is the binary cross-entropy.

    Args:
        variables: number of cells.
        network: makes a network of ``(variables,)`` logits from contexts ``(B, ...)``.

    Raises:
        ValueError: when called, if the context is missing or the network gives another shape.

    Example:
        >>> import torch
        >>> from logprob.nn import MLP
        >>> model = BernoulliCells(4, lambda outputs: MLP(3, outputs))
        >>> model(torch.randn(5, 3)).log_prob(torch.ones(5, 4)).shape
        torch.Size([5])
    """

    def __init__(self, variables: int, network: Scores) -> None:
        super().__init__()
        self.variables = variables
        self.network = network(variables)

    def forward(self, context: Tensor | None = None) -> Independent:
        """The law given contexts ``(B, ...)``; batch shape ``(B,)``, event shape ``(variables,)``."""
        logits = scores_of(self.network, context, self.variables)
        return Independent(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)


def scores_of(network: nn.Module, context: Tensor | None, variables: int) -> Tensor:
    """What a network says to contexts, ``(B, variables)``.

    Raises:
        ValueError: if there is no context or the shape is another one.
    """
    if context is None:
        raise ValueError(f"{type(network).__name__} scores structures given a context, got none")
    scores: Tensor = network(context)
    if scores.shape != (len(context), variables):
        raise ValueError(f"expected scores of shape {(len(context), variables)}, got {tuple(scores.shape)}")
    return scores


def _shape(variables: int, solver: Solver) -> tuple[int, ...]:
    if solver.event_dim == 1:
        return (variables,)
    side = square_side(variables)
    return (side, side)
