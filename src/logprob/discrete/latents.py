"""Groups of structured latent variables: subsets and spanning trees, exact or as perturbed scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from logprob.discrete import perturbed_kl  # noqa: F401  (makes the bound of the divergence known)
from logprob.discrete.k_subset import KSubset
from logprob.discrete.noise import Gumbel, Noise
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.spanning_trees import SpanningTrees
from logprob.distributions import Latent
from logprob.distributions.checks import has_structure
from logprob.distributions.latent import check_counts


class SubsetLatent(Latent):
    """V independent subsets of k of n items, ``q(z)`` proportional to ``exp <z, scores>``; uniform prior.

    Sampling, probabilities and the divergence are exact. Samples have no reparameterisation: the objective's
    ``gradient`` says how they get a gradient.

    Args:
        count: number V of subsets.
        categories: number n of items.
        k: items in a subset.

    Raises:
        ValueError: if a number is below 1 or k above n.

    Example:
        >>> latent = SubsetLatent(20, 20, k=10)
        >>> q = latent.posterior(torch.zeros(3, latent.inputs))
        >>> q.sample().shape, torch.distributions.kl_divergence(q, latent.prior()).shape
        (torch.Size([3, 20, 20]), torch.Size([3, 20]))
    """

    event_dim = 1
    zeros: Tensor

    def __init__(self, count: int, categories: int, k: int) -> None:
        check_counts(count=count, categories=categories, k=k)
        if k > categories:
            raise ValueError(f"expected k of at most {categories} items, got {k}")
        super().__init__(count * categories, count * categories)
        self.k = k
        self.register_buffer("zeros", torch.zeros(count, categories), persistent=False)

    def posterior(self, parameters: Tensor) -> KSubset:
        """The scores of the first subset's items first."""
        return KSubset(parameters.unflatten(-1, self.zeros.shape), self.k)

    def prior(self) -> KSubset:
        """All subsets alike."""
        return KSubset(self.zeros, self.k)


class SpanningTreeLatent(Latent):
    """A spanning tree of a complete graph, ``q(z)`` proportional to ``exp <z, scores>``; uniform prior.

    An event is the indicator of the ``E = n (n - 1) / 2`` edges (0, 1), (0, 2), ..., (n - 2, n - 1). Sampling,
    probabilities and the divergence are exact.

    Args:
        vertices: n.

    Raises:
        ValueError: if ``vertices`` is below 2.

    Example:
        >>> latent = SpanningTreeLatent(5)
        >>> latent.posterior(torch.zeros(3, latent.inputs)).sample().shape
        torch.Size([3, 1, 10])
    """

    event_dim = 1
    zeros: Tensor

    def __init__(self, vertices: int) -> None:
        if vertices < 2:
            raise ValueError(f"expected at least 2 vertices, got {vertices}")
        edges = vertices * (vertices - 1) // 2
        super().__init__(edges, edges)
        self.register_buffer("zeros", torch.zeros(1, edges), persistent=False)

    def posterior(self, parameters: Tensor) -> SpanningTrees:
        """The scores of the edges."""
        return SpanningTrees(parameters.unsqueeze(-2))

    def prior(self) -> SpanningTrees:
        """All trees alike."""
        return SpanningTrees(self.zeros)


class PerturbedLatent(Latent):
    """Structured variables that a solver finds for perturbed scores, ``z = argmax <z, scores + temperature noise>``.

    It is another law than the one it is made from, of the same structures; the prior's scores are that law's. Its
    probabilities have no closed form. With Gumbel noise the divergence has a bound (``kl="bound"``, loose); with any
    other the objective must do without one.

    Args:
        latent: the exact law whose scores are perturbed: a :class:`SubsetLatent` or :class:`SpanningTreeLatent`.
        noise: of every score.
        temperature: of the noise, > 0.

    Raises:
        ValueError: if ``temperature`` is not positive, or ``latent`` has no solver for its scores.

    Example:
        >>> latent = PerturbedLatent(SubsetLatent(20, 20, k=10))
        >>> latent.posterior(torch.zeros(3, latent.inputs)).sample().shape
        torch.Size([3, 20, 20])
    """

    event_dim = 1

    def __init__(self, latent: Latent, noise: Noise = Gumbel(), temperature: float = 1.0) -> None:  # noqa: B008
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if not has_structure(latent.prior()):
            raise ValueError(f"expected latent variables that a solver finds, got {type(latent).__name__}")
        super().__init__(latent.inputs, latent.features)
        self.latent, self.noise, self.temperature = latent, noise, temperature

    def posterior(self, parameters: Tensor) -> PerturbAndMAP:
        """The numbers of the exact law."""
        return self._perturbed(self.latent.posterior(parameters))

    def prior(self) -> PerturbAndMAP:
        """The exact law's prior, perturbed."""
        return self._perturbed(self.latent.prior())

    def _perturbed(self, law: Any) -> PerturbAndMAP:
        return PerturbAndMAP(law.scores, law.solver, self.noise, self.temperature)
