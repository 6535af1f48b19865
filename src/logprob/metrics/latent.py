"""Metrics of models with latent variables: bounds, categories in use, distance to the vertices, dead gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import kl_divergence

from logprob.batch import Batch
from logprob.distributions import DistributionModule, log_ratio, vertex_distance
from logprob.distributions.checks import categorical_divergence, check_latent, has_categories, has_structure
from logprob.distributions.kl_bound import kl_bound

Part = Literal["closed", "sampled", "categorical", "bound"]


@dataclass(frozen=True)
class EvidenceBounds:
    """Mean log-likelihood of the rows at relaxed samples, less each divergence asked for, in nats (higher is better).

    ``elbo_closed`` and ``elbo_sampled`` estimate the evidence lower bound of the relaxed model, the one with the exact
    divergence where there is one, the other with ``log q(z) - log p(z)``. ``elbo_categorical`` puts the exact
    divergence of the categories beside the relaxed likelihood; that bounds nothing and is what is often printed.
    ``elbo_bound`` puts a bound of the divergence in its place and is a bound of the evidence itself, a looser one.
    A divergence that a model does not have is left out.

    Structures, such as subsets and trees, are drawn as they are: with them the likelihood is called
    ``log_likelihood``, and without any other variables all are bounds of the discrete model.

    Args:
        kl: which ones.
        samples: relaxed samples a row.
        batch_size: rows evaluated at once.

    Raises:
        ValueError: if a number is below 1 or a name unknown.
        TypeError: when called, if the model has no latent variables.

    Example:
        >>> from logprob.distributions import GaussianLatent, LatentVariableModel
        >>> from logprob.nn import MLP
        >>> model = LatentVariableModel(6, GaussianLatent(2), MLP, MLP)
        >>> sorted(EvidenceBounds()(model, Batch(torch.zeros(4, 6))))
        ['elbo_closed', 'elbo_sampled', 'relaxed_log_likelihood']
    """

    kl: Sequence[Part] = ("closed", "sampled")
    samples: int = 1
    batch_size: int = 500

    def __post_init__(self) -> None:
        if min(self.samples, self.batch_size) < 1 or not set(self.kl) <= set(_PARTS):
            raise ValueError(f"expected samples and batch_size from 1 and kl of {', '.join(_PARTS)}, got {self}")

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``."""
        check_latent(model, "EvidenceBounds")
        rows: dict[str, list[Tensor]] = {}
        with torch.no_grad():
            for part in slices(len(batch.x), self.batch_size):
                for name, values in self._rows(model, batch.x[part]).items():
                    rows.setdefault(name, []).append(values.double())
        return {name: torch.cat(values).mean().item() for name, values in rows.items()}

    def _rows(self, model: Any, x: Tensor) -> dict[str, Tensor]:
        posteriors, priors = model.posteriors(x), model.priors()
        structures = any(has_structure(q) for q in posteriors)
        z = [_draw(q, self.samples) for q in posteriors]
        log_likelihood = model.log_likelihood(x, z).mean(0)
        numbers = {"log_likelihood" if structures else "relaxed_log_likelihood": log_likelihood}
        for name in self.kl:
            each = zip(posteriors, priors, z, strict=True)
            try:
                total = torch.stack([_PARTS[name](q, p, part) for q, p, part in each]).sum(0)
            except NotImplementedError:
                continue
            numbers[f"elbo_{name}"] = log_likelihood - total
        return numbers


def _draw(q: Any, samples: int) -> Tensor:
    shape = torch.Size((samples,))
    drawn: Tensor = q.sample(shape) if has_structure(q) else q.rsample(shape)
    return drawn


def _closed(q: Any, p: Any, z: Tensor) -> Tensor:
    return kl_divergence(q, p).sum(-1)


def _sampled(q: Any, p: Any, z: Tensor) -> Tensor:
    return log_ratio(q, p, z).sum(-1).mean(0)


def _categorical(q: Any, p: Any, z: Tensor) -> Tensor:
    return (categorical_divergence(q, p) if has_categories(q) else kl_divergence(q, p)).sum(-1)


def _bound(q: Any, p: Any, z: Tensor) -> Tensor:
    return kl_bound(q, p).sum(-1)


_PARTS: Mapping[str, Any] = {
    "closed": _closed,
    "sampled": _sampled,
    "categorical": _categorical,
    "bound": _bound,
}


@dataclass(frozen=True)
class RelaxedSamples:
    """How discrete the relaxed posterior samples are, and how many categories they use.

    ``vertex_distance``: median over the rows of the Euclidean distance between a relaxed sample and the nearest vertex,
    averaged over variables and samples. ``near_vertex``: share of the samples within 0.2 of a vertex.
    ``categories_used``: categories that are the largest entry for some row, mean over the variables; of K.

    Args:
        samples: draws a row.
        batch_size: rows evaluated at once.

    Raises:
        ValueError: if a number is below 1; when called, if the model has no categorical variables.

    Example:
        >>> from logprob.distributions import LatentVariableModel
        >>> from logprob.nn import MLP
        >>> from logprob.simplex import ConcreteLatent
        >>> model = LatentVariableModel(6, ConcreteLatent(3, 4, temperature=0.5), MLP, MLP)
        >>> sorted(RelaxedSamples()(model, Batch(torch.zeros(4, 6))))
        ['categories_used', 'near_vertex', 'vertex_distance']
    """

    samples: int = 1
    batch_size: int = 500

    def __post_init__(self) -> None:
        if min(self.samples, self.batch_size) < 1:
            raise ValueError(f"samples and batch_size must be at least 1, got {self}")

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``."""
        check_latent(model, "RelaxedSamples")
        distances: list[Tensor] = []
        used: Tensor | int = 0
        near = 0.0
        with torch.no_grad():
            for part in slices(len(batch.x), self.batch_size):
                psi = categorical_posterior(model, batch.x[part]).rsample(torch.Size((self.samples,)))
                distance = vertex_distance(psi)  # (S, B, V)
                distances.append(distance.mean((0, 2)))
                near += (distance <= 0.2).double().mean((0, 2)).sum().item()
                used = used + F.one_hot(psi.argmax(-1), psi.shape[-1]).sum((0, 1))
        assert isinstance(used, Tensor)
        return {
            "vertex_distance": torch.cat(distances).median().item(),
            "near_vertex": near / len(batch.x),
            "categories_used": (used > 0).sum(-1).double().mean().item(),
        }


@dataclass(frozen=True)
class VanishingGradients:
    """Share of the posterior's variables whose relaxed sample passes no gradient back.

    For each row and variable: the norm of the gradient of the sample's largest entry with respect to the numbers that
    the encoder gives for that variable. The *sum* of the entries would not do, as it is 1 whatever the parameters.

    ``vanishing_gradients``: share of norms of at most ``threshold``.

    Args:
        threshold: below which a gradient counts as none.
        batch_size: rows evaluated at once.

    Raises:
        ValueError: when called, if the model has no categorical variables.
    """

    threshold: float = 1e-10
    batch_size: int = 500

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``."""
        check_latent(model, "VanishingGradients")
        dead = total = 0
        for part in slices(len(batch.x), self.batch_size):
            norms = self._norms(model, batch.x[part])
            dead += int((norms <= self.threshold).sum())
            total += norms.numel()
        return {"vanishing_gradients": dead / total}

    def _norms(self, model: Any, x: Tensor) -> Tensor:
        """Norms ``(B, V)``."""
        with torch.enable_grad():
            q = categorical_posterior(model, x)
            leaves = [tensor.detach().requires_grad_() for tensor in q.parameters()]
            largest = q.with_parameters(*leaves).rsample().amax(-1)  # (B, V)
            gradients = torch.autograd.grad(largest.sum(), leaves)
        return torch.stack([gradient.square().sum(-1) for gradient in gradients]).sum(0).sqrt()


def categorical_posterior(model: Any, x: Tensor) -> Any:
    """The posterior of the first group that has categories.

    Raises:
        ValueError: if there is none.
    """
    for q in model.posteriors(x):
        if has_categories(q):
            return q
    raise ValueError(f"{type(model).__name__} has no latent variables with categories")


def slices(rows: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most ``size`` rows.

    Raises:
        ValueError: if there is no row.
    """
    if rows < 1:
        raise ValueError("expected at least one row, got none")
    return (slice(start, start + size) for start in range(0, rows, size))


def standard_error(values: Tensor) -> float:
    """Of the mean of independent values; NaN for one."""
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
