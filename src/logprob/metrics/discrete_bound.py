"""What a model of categorical latent variables is worth without its relaxation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from logprob.batch import Batch
from logprob.distributions import DistributionModule, IntractableError, log_ratio
from logprob.distributions.checks import check_latent, has_categories
from logprob.distributions.draws import draws_of
from logprob.metrics.latent import slices, standard_error

DRAWN_AT_ONCE = 100


class _Draw(NamedTuple):
    """Values of one group ``(M, B, V, *event)`` and ``log q(z) - log p(z)`` of them, ``(M, B)``."""

    z: Tensor
    log_ratio: Tensor


@dataclass(frozen=True)
class DiscreteBound:
    """Lower bound of the log-likelihood of the *discrete* model: the same decoder, fed with one-hot vectors.

    ``log (1/M) sum_m p(x | z_m) p(z_m) / q(z_m | x)`` with one-hot ``z_m ~ q``, in nats, mean over the rows (higher is
    better). ``q`` and ``p`` are the laws of the categories: exact for :class:`~logprob.simplex.Concrete` and for
    :class:`~logprob.simplex.InvertibleGaussian` without a transform. Where they have no closed form, ``q`` is the
    frequencies of ``proposal_draws`` draws mixed with a little of the uniform law. That is a proposal like any other,
    so the bound is as valid, only less tight; and ``p`` is made in the same way from a hundred times as many draws with
    a seed of their own, which *defines* the discrete prior. Variables without categories are drawn as they are.

    ``discrete_bound``, its standard error ``discrete_bound_se`` over the rows, and ``effective_sample_size``, the mean
    of ``1 / sum_m w_m^2`` over the rows, of M.

    Args:
        samples: M; report it with the number.
        proposal_draws: draws a row, where the category probabilities have no closed form.
        seed: of the draws.
        batch_size: rows times samples evaluated at once.

    Raises:
        ValueError: if a number is below 1.
        TypeError: when called, if the model has no latent variables.

    References:
        Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016.

    Example:
        >>> from logprob.distributions import LatentVariableModel
        >>> from logprob.nn import MLP
        >>> from logprob.simplex import ConcreteLatent
        >>> model = LatentVariableModel(6, ConcreteLatent(3, 4, temperature=0.5), MLP, MLP)
        >>> sorted(DiscreteBound(samples=5)(model, Batch(torch.zeros(4, 6))))
        ['discrete_bound', 'discrete_bound_se', 'effective_sample_size']
    """

    samples: int = 100
    proposal_draws: int = 200
    seed: int = 0
    batch_size: int = 2000

    def __post_init__(self) -> None:
        for name in ("samples", "proposal_draws", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``."""
        check_latent(model, "DiscreteBound")
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad(), draws_of(generator, batch.x.device):
            priors = self._priors(model)
            parts = [
                self.log_weights(model, batch.x[rows], priors)
                for rows in slices(len(batch.x), max(1, self.batch_size // self.samples))
            ]
        log_weights = torch.cat(parts, dim=1).double()  # (M, N)
        bounds = log_weights.logsumexp(0) - math.log(self.samples)
        sizes = 1 / log_weights.softmax(0).square().sum(0)
        return {
            "discrete_bound": bounds.mean().item(),
            "discrete_bound_se": standard_error(bounds),
            "effective_sample_size": sizes.mean().item(),
        }

    def log_weights(self, model: Any, x: Tensor, priors: list[Tensor | None]) -> Tensor:
        """``log p(x | z_m) + log p(z_m) - log q(z_m | x)`` of rows, ``(M, B)``.

        Args:
            model: a model with latent variables.
            x: rows ``(B, D)``.
            priors: log-probabilities of the categories of each group, None for groups without categories.
        """
        posteriors = model.posteriors(x)
        each = zip(posteriors, model.priors(), priors, strict=True)
        draws = [self._draw(q, p, logits) for q, p, logits in each]
        total: Tensor = model.log_likelihood(x, [draw.z for draw in draws])
        return total - torch.stack([draw.log_ratio for draw in draws]).sum(0)

    def _priors(self, model: Any) -> list[Tensor | None]:
        laws = model.priors()
        return [category_logits(p, 100 * self.proposal_draws) if has_categories(p) else None for p in laws]

    def _draw(self, q: Distribution, p: Distribution, prior: Tensor | None) -> _Draw:
        if prior is None:
            z = q.sample(torch.Size((self.samples,)))
            return _Draw(z, log_ratio(q, p, z).sum(-1))
        posterior = category_logits(q, self.proposal_draws)  # (B, V, K)
        index = torch.distributions.Categorical(logits=posterior, validate_args=False).sample((self.samples,))
        ratio = (posterior - prior).expand(*index.shape, -1).gather(-1, index.unsqueeze(-1)).squeeze(-1)
        return _Draw(F.one_hot(index, posterior.shape[-1]).to(posterior.dtype), ratio.sum(-1))


def category_logits(q: Any, draws: int) -> Tensor:
    """Log-probabilities of the categories, exact where they are known, else of the frequencies of ``draws`` draws.

    To the frequencies one draw of the uniform law is added, so that no category has probability 0.
    """
    try:
        exact: Tensor = q.logits
        return exact
    except IntractableError:
        return _frequencies(q, draws)


def _frequencies(q: Any, draws: int) -> Tensor:
    categories = q.event_shape[0]
    total: Tensor | float = 1.0 / categories
    for start in range(0, draws, DRAWN_AT_ONCE):
        drawn = q.rsample(torch.Size((min(DRAWN_AT_ONCE, draws - start),)))
        total = total + F.one_hot(drawn.argmax(-1), categories).sum(0).to(drawn)
    assert isinstance(total, Tensor)
    return (total / (draws + 1)).log()
