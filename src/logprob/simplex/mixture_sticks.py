"""Laws of the sticks of a mixture with random weights: what its posterior and its prior are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Normal

from logprob.distributions import Latent
from logprob.simplex.kumaraswamy_logits import KumaraswamyLogits
from logprob.simplex.stick_breaking import log_sticks
from logprob.simplex.truncation import Truncation


class Sticks(Latent):
    """K - 1 sticks, by their logits: ``v = sigmoid(y)``, weights ``pi_k = v_k prod_{i<k} (1 - v_i)``, then the rest.

    A ``truncation`` leaves out components from some place on. A mixture then decodes fewer of them; as ``q(k | v)`` is
    ``pi`` on those that are kept, its bounds stay bounds, the evidence lower bound less by ``-log`` of the kept weight.
    The gradient does not see how their number depends on the sticks.

    Args:
        components: K, at least 2.
        concentration: alpha of the prior Beta(1, alpha) of every stick, > 0.
        truncation: how many components a draw keeps; all if omitted.

    Raises:
        ValueError: if a number is out of its range.
    """

    def __init__(self, components: int, concentration: float = 1.0, truncation: Truncation | None = None) -> None:
        if components < 2:
            raise ValueError(f"components must be at least 2, got {components}")
        if not concentration > 0:
            raise ValueError(f"concentration must be positive, got {concentration}")
        super().__init__(2 * (components - 1), components - 1)
        self.components, self.concentration, self.truncation = components, concentration, truncation

    def log_weights(self, y: Tensor) -> Tensor:
        """``log pi``, ``(..., K)``, of logits ``(..., K-1)``."""
        return log_sticks(F.logsigmoid(y), F.logsigmoid(-y))

    def kept(self, log_weights: Tensor) -> Tensor:
        """The first of the log-weights, ``(..., k)``, as many as some draw keeps; -inf for those it leaves out itself.

        Example:
            >>> from logprob.simplex.truncation import PerSampleTruncation
            >>> sticks = GaussianSticks(4, truncation=PerSampleTruncation(0.7))
            >>> sticks.kept(torch.tensor([[0.8, 0.1, 0.05, 0.05], [0.4, 0.4, 0.1, 0.1]]).log()).exp()
            tensor([[0.8000, 0.0000],
                    [0.4000, 0.4000]])
        """
        if self.truncation is None or not log_weights.numel():
            return log_weights
        # In double precision, as all the weights together must exceed any threshold below 1.
        counts = self.truncation.counts(log_weights.detach().double().exp()).unsqueeze(-1)
        most = int(counts.max())
        beyond = torch.arange(most, device=counts.device) >= counts
        return log_weights[..., :most].masked_fill(beyond, -math.inf)


class GaussianSticks(Sticks):
    """Logit-normal sticks, ``y ~ N(loc, scale^2)``: those of an invertible Gaussian that breaks sticks (IGR-SB).

    The prior is logit-normal too, with the mean and the variance that the logit of a Beta(1, alpha) variable has,
    ``digamma(1) - digamma(alpha)`` and ``trigamma(1) + trigamma(alpha)``; so the divergence has a closed form.

    Args:
        components: K, at least 2.
        concentration: alpha of the law Beta(1, alpha) that the prior stands for, > 0.
        truncation: how many components a draw keeps; all if omitted.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> sticks = GaussianSticks(20)
        >>> q = sticks.posterior(torch.zeros(5, sticks.inputs))
        >>> torch.distributions.kl_divergence(q, sticks.prior()).shape
        torch.Size([5, 19])
    """

    prior_loc: Tensor
    prior_scale: Tensor

    def __init__(self, components: int, concentration: float = 1.0, truncation: Truncation | None = None) -> None:
        super().__init__(components, concentration, truncation)
        one, alpha = torch.tensor([1.0, concentration], dtype=torch.float64)
        loc = one.digamma() - alpha.digamma()
        scale = (one.polygamma(1) + alpha.polygamma(1)).sqrt()
        for name, value in (("prior_loc", loc), ("prior_scale", scale)):
            whole = value.to(torch.get_default_dtype()).expand(components - 1).clone()
            self.register_buffer(name, whole, persistent=False)

    def posterior(self, parameters: Tensor) -> Normal:
        """Means first, then logarithms of the standard deviations."""
        loc, log_scale = parameters.chunk(2, dim=-1)
        return Normal(loc, log_scale.exp(), validate_args=False)

    def prior(self) -> Distribution:
        """The same for every stick."""
        return Normal(self.prior_loc, self.prior_scale, validate_args=False)


class KumaraswamySticks(Sticks):
    """Kumaraswamy sticks, ``P(V <= v) = 1 - (1 - v^a)^b``, with the prior Beta(1, alpha) itself.

    Args:
        components: K, at least 2.
        concentration: alpha, > 0.
        truncation: how many components a draw keeps; all if omitted.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> sticks = KumaraswamySticks(20)
        >>> q = sticks.posterior(torch.zeros(5, sticks.inputs))  # a = b = 1
        >>> torch.distributions.kl_divergence(q, sticks.prior()).abs().max() < 1e-5
        tensor(True)
    """

    alpha: Tensor

    def __init__(self, components: int, concentration: float = 1.0, truncation: Truncation | None = None) -> None:
        super().__init__(components, concentration, truncation)
        self.register_buffer("alpha", torch.full((components - 1,), concentration), persistent=False)

    def posterior(self, parameters: Tensor) -> KumaraswamyLogits:
        """Logarithms of a first, then those of b."""
        log_a, log_b = parameters.chunk(2, dim=-1)
        return KumaraswamyLogits(log_a.exp(), log_b.exp())

    def prior(self) -> KumaraswamyLogits:
        """The same for every stick."""
        return KumaraswamyLogits(torch.ones_like(self.alpha), self.alpha)
