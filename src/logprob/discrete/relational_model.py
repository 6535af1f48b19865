"""What moves in a graph tells which of its edges are there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from logprob.discrete.solvers.spanning_tree import edges_of, matrix_of
from logprob.distributions import DistributionModule, IntractableError, Latent
from logprob.distributions.latent import Network, check_counts
from logprob.nn import EdgeDecoder, EdgeEncoder, directed_edges


class RelationalModel(DistributionModule):
    """``p(x_2, ..., x_T | x_1) = E p(x_2, ..., x_T | x_1, z)`` over a graph z, with a posterior ``q(z | x)``.

    A row is where n vertices are at T times, ``(T, n, d)`` flattened. The encoder scores the directed edges; the mean
    of both directions is the score of an edge. The likelihood of a graph is Gaussian around the decoder's predictions,
    of all n vertices and all times but the first, with its constant: it is in nats and per graph.

    Args:
        variables: numbers T n d of a row.
        vertices: n.
        latent: law of the graph. Its features are the indicators of the ``E = n (n - 1) / 2`` edges, or those of no
            edge and edge for each of them (such as E variables of two categories).
        encoder: makes a network of ``(features of a vertex, numbers for an edge)``, to be called with ``(B, n, T d)``,
            that gives the numbers of the directed edges, ``(B, n (n - 1), numbers)``.
        decoder: makes a network of ``(d,)`` that is called as an :class:`~logprob.nn.EdgeDecoder` is.
        dimensions: d.
        variance: of a coordinate around its prediction, > 0.

    Raises:
        ValueError: if the numbers do not fit one another or one is out of its range.

    References:
        Kipf, Fetaya, Wang, Welling and Zemel, "Neural Relational Inference for Interacting Systems", ICML 2018; Paulus
        et al., "Gradient Estimation with Stochastic Softmax Tricks", NeurIPS 2020.

    Example:
        >>> from logprob.discrete.latents import SpanningTreeLatent
        >>> model = RelationalModel(4 * 5 * 2, 5, SpanningTreeLatent(5))  # 4 times, 5 vertices in the plane
        >>> x = torch.randn(3, 40)
        >>> (q,) = model.posteriors(x)
        >>> model.log_likelihood(x, [q.sample((7,))]).shape
        torch.Size([7, 3])
    """

    place: Tensor
    ends: Tensor

    def __init__(
        self,
        variables: int,
        vertices: int,
        latent: Latent,
        encoder: Network = EdgeEncoder,
        decoder: Callable[[int], nn.Module] = EdgeDecoder,
        dimensions: int = 2,
        variance: float = 5e-5,
    ) -> None:
        super().__init__()
        check_counts(vertices=vertices - 1, dimensions=dimensions)
        edges = vertices * (vertices - 1) // 2
        self.shape = (variables // (vertices * dimensions), vertices, dimensions)
        self.kinds, self.variance = _kinds(latent, edges), variance
        if math.prod(self.shape) != variables or self.shape[0] < 2 or not variance > 0:
            raise ValueError(
                f"expected {vertices} vertices at 2 or more times and a positive variance, got {variables} variables "
                f"of {dimensions} dimensions and {variance}"
            )
        self.latent = latent
        self.encoder = encoder(self.shape[0] * dimensions, latent.inputs // edges)
        self.decoder = decoder(dimensions)
        self._remember_edges(vertices)

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Raises :class:`IntractableError`: the first positions have no law."""
        raise IntractableError(
            "a relational model has no law of the first positions; use posteriors and log_likelihood"
        )

    def posteriors(self, x: Tensor) -> list[Distribution]:
        """``q(z | x)`` of rows ``(B, T n d)``, alone in a list."""
        return self.posteriors_of(self.encode(x))

    def encode(self, x: Tensor) -> Tensor:
        """The scores of the edges, ``(B, numbers E)``, from both directions alike."""
        vertices = self.positions(x).transpose(-3, -2).flatten(-2)  # (B, n, T d)
        forth, back = self.ends
        directed = self.encoder(vertices)
        numbers: Tensor = (directed[:, forth] + directed[:, back]) / 2  # (B, E, numbers)
        return numbers.flatten(-2)

    def posteriors_of(self, numbers: Tensor) -> list[Distribution]:
        """The posterior that the scores of the edges say."""
        return [self.latent.posterior(numbers)]

    def priors(self) -> list[Distribution]:
        """``p(z)``, alone in a list."""
        return [self.latent.prior()]

    def log_likelihood(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        """``log p(x_2, ..., x_T | x_1, z)`` in nats, ``(..., B)``, for values of the latent variables."""
        error = self.predict(x, z[0]) - self.positions(x)[..., 1:, :, :]
        return gaussian_log_density(error.flatten(-3), self.variance)

    def predict(self, x: Tensor, z: Tensor, prediction_steps: int | None = None) -> Tensor:
        """Positions at all times but the first, ``(..., B, T - 1, n, d)``.

        Args:
            x: rows ``(B, T n d)``.
            z: values of the latent variables.
            prediction_steps: after how many the true positions are told again; the decoder's own number if omitted.
        """
        directed = self.edges(z).index_select(-1, self.place)
        predicted: Tensor = self.decoder(self.positions(x), directed, prediction_steps)
        return predicted

    def edges(self, z: Tensor) -> Tensor:
        """Edge indicators ``(..., B, E)`` of values of the latent variables ``(..., B, V, event)``."""
        return z.flatten(-2) if self.kinds == 1 else z[..., 1]

    def positions(self, x: Tensor) -> Tensor:
        """``(..., T, n, d)`` of rows."""
        return x.to(next(self.parameters()).dtype).unflatten(-1, self.shape)

    def _remember_edges(self, vertices: int) -> None:
        """Which edge a directed one belongs to, and which two directed ones belong to an edge."""
        receivers, senders = directed_edges(vertices)
        count = vertices * (vertices - 1)
        names = matrix_of(torch.arange(count // 2, dtype=torch.float64))
        self.register_buffer("place", names[receivers, senders].long(), persistent=False)
        directed = torch.zeros(vertices, vertices, dtype=torch.float64)
        directed[receivers, senders] = torch.arange(count, dtype=torch.float64)
        forth = edges_of(directed.triu() + directed.triu().T)
        back = edges_of(directed.tril() + directed.tril().T)
        self.register_buffer("ends", torch.stack([forth, back]).long(), persistent=False)


def gaussian_log_density(error: Tensor, variance: float) -> Tensor:
    """``sum_i log N(error_i; 0, variance)`` over the last dimension, in nats."""
    constant = 0.5 * error.shape[-1] * math.log(2 * math.pi * variance)
    return -error.square().sum(-1) / (2 * variance) - constant


def _kinds(latent: Latent, edges: int) -> int:
    """Numbers that the latent variables have for an edge: one indicator, or those of no edge and edge."""
    if latent.features not in (edges, 2 * edges) or latent.inputs % edges:
        raise ValueError(
            f"the graph has {edges} edges, so the latent variables must have {edges} or {2 * edges} features and a "
            f"multiple of {edges} inputs, got {latent.features} and {latent.inputs}"
        )
    return latent.features // edges
