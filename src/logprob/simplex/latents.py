"""Groups of relaxed categorical latent variables: the part of a VAE that says what q(z | x) and p(z) are."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from logprob.distributions import Latent
from logprob.distributions.latent import check_counts
from logprob.simplex.concrete import Concrete
from logprob.simplex.from_probs import uniform_loc
from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.mean_sticks import uniform_mean_sticks_loc
from logprob.simplex.planar import PlanarLayers
from logprob.simplex.stick_breaking import LogStickBreaking, StickBreaking
from logprob.simplex.stick_breaking_gaussian import StickBreakingGaussian
from logprob.simplex.truncation import PerSampleTruncation, Truncation

Prior = Literal["uniform", "learned"]


class _Numbers(nn.Module):
    """Fixed or learned numbers of a prior, by name."""

    def __init__(self, prior: Prior, **numbers: Tensor) -> None:
        super().__init__()
        if prior not in ("uniform", "learned"):
            raise ValueError(f"prior must be uniform or learned, got {prior!r}")
        for name, number in numbers.items():
            if prior == "learned":
                self.register_parameter(name, nn.Parameter(number.clone()))
            else:
                self.register_buffer(name, number.clone())

    def forward(self) -> list[Tensor]:
        """The numbers, in the order in which they were given."""
        return [*self.parameters(), *self.buffers()]


class _GaussianNoiseLatent(Latent):
    """What the members of the invertible Gaussian family share: two numbers for each of K - 1 coordinates."""

    event_dim = 1

    def __init__(self, count: int, categories: int, temperature: float, delta: float, loc: Tensor, prior: Prior):
        super().__init__(2 * count * (categories - 1), count * categories)
        self.shape = (count, categories - 1)
        self.temperature, self.delta = temperature, delta
        loc = loc.to(torch.get_default_dtype()).expand(self.shape)
        self.prior_numbers = _Numbers(prior, loc=loc, log_scale=torch.zeros(self.shape))

    def posterior(self, parameters: Tensor) -> Any:
        """Locations of all coordinates first, then logarithms of the scales."""
        loc, log_scale = parameters.unflatten(-1, (2, *self.shape)).unbind(-3)
        return self._law(loc, log_scale, self.transform())

    def prior(self) -> Any:
        """By the prior's numbers, through the same map."""
        loc, log_scale = self.prior_numbers()
        return self._law(loc, log_scale, self.prior_transform())

    def transform(self) -> Any:
        """The map of the posterior; None is the identity."""
        return None

    def prior_transform(self) -> Any:
        """The map of the prior; that of the posterior unless a class says otherwise."""
        return self.transform()

    def _law(self, loc: Tensor, log_scale: Tensor, transform: Any) -> Any:
        return InvertibleGaussian(loc, log_scale, self.temperature, self.delta, transform, validate_args=False)


class InvertibleGaussianLatent(_GaussianNoiseLatent):
    """V categorical variables relaxed by an :class:`InvertibleGaussian` (IGR-I).

    The prior's categories are exactly uniform: ``loc = c - Phi^-1(K^(-1/(K-1)))`` with scale 1 and ``c = temperature
    log delta``; a learned one starts from there.

    Args:
        count: number V of variables.
        categories: K, at least 2.
        temperature: > 0.
        delta: of softmax++, > 0.
        prior: ``"uniform"``, or ``"learned"`` together with the model.
        scale: ``"free"``: the encoder gives loc and log-scale; ``"bounded"``: it gives m and s with ``loc = tanh(m)``
            and ``scale = (1 + sigmoid(s)) / 2``, which keeps hard samples from one category alone.

    Raises:
        ValueError: if a number is out of its range or a name unknown.

    References:
        Potapczynski, Loaiza-Ganem and Cunningham, "Invertible Gaussian Reparameterization", NeurIPS 2020.

    Example:
        >>> latent = InvertibleGaussianLatent(20, 10, temperature=0.5)
        >>> q = latent.posterior(torch.zeros(4, latent.inputs))
        >>> q.rsample().shape, torch.distributions.kl_divergence(q, latent.prior()).shape
        (torch.Size([4, 20, 10]), torch.Size([4, 20]))
    """

    def __init__(
        self,
        count: int,
        categories: int,
        temperature: float,
        delta: float = 1.0,
        prior: Prior = "uniform",
        scale: Literal["free", "bounded"] = "free",
    ) -> None:
        _check(count, categories, temperature=temperature, delta=delta)
        if scale not in ("free", "bounded"):
            raise ValueError(f"scale must be free or bounded, got {scale!r}")
        super().__init__(count, categories, temperature, delta, _uniform(categories, temperature, delta), prior)
        self.scale = scale

    def posterior(self, parameters: Tensor) -> Any:
        """Locations of all coordinates first, then logarithms of the scales, or what bounds both."""
        if self.scale == "free":
            return super().posterior(parameters)
        loc, raw = parameters.unflatten(-1, (2, *self.shape)).unbind(-3)
        return self._law(loc.tanh(), (0.5 + 0.5 * raw.sigmoid()).log(), None)


class PlanarLatent(_GaussianNoiseLatent):
    """V categorical variables whose Gaussian noise passes planar layers, one flow a variable (IGR-Planar).

    Args:
        count: number V of variables.
        categories: K, at least 2.
        temperature: > 0.
        delta: of softmax++, > 0.
        layers: planar layers.
        prior: ``"uniform"`` or ``"learned"``, see :class:`InvertibleGaussianLatent`.
        flowed: whether the prior passes the layers too, and the divergence has a closed form: ``"both"``; or
            ``"posterior"`` alone, as published, whose divergence can only be sampled. The categories of a flowed
            prior are not uniform.

    Raises:
        ValueError: if a number is out of its range or a name unknown.

    Example:
        >>> latent = PlanarLatent(20, 10, temperature=0.5)
        >>> latent.posterior(torch.zeros(4, latent.inputs)).rsample().shape
        torch.Size([4, 20, 10])
    """

    def __init__(
        self,
        count: int,
        categories: int,
        temperature: float,
        delta: float = 1.0,
        layers: int = 2,
        prior: Prior = "uniform",
        flowed: Literal["both", "posterior"] = "posterior",
    ) -> None:
        _check(count, categories, temperature=temperature, delta=delta)
        check_counts(layers=layers)
        if flowed not in ("both", "posterior"):
            raise ValueError(f"flowed must be both or posterior, got {flowed!r}")
        super().__init__(count, categories, temperature, delta, _uniform(categories, temperature, delta), prior)
        self.layers = PlanarLayers(layers, self.shape)
        self.flowed = flowed
        self.learned_posterior = flowed == "posterior"

    def transform(self) -> Any:
        """The planar layers."""
        return self.layers()

    def prior_transform(self) -> Any:
        """The planar layers, or the identity."""
        return self.layers() if self.flowed == "both" else None


class StickBreakingLatent(_GaussianNoiseLatent):
    """V categorical variables by breaking a stick K - 1 times (IGR-SB with a fixed number of categories).

    The mean sticks of the prior are uniform; its categories are so only nearly.

    Args:
        count: number V of variables.
        categories: K, at least 2.
        temperature: > 0.
        sticks: ``"log"``: the relaxed law of logarithms of sticks, all K categories in use and the whole simplex as
            support; ``"linear"``, as published: the sticks themselves are the logits, with ``delta`` beside them.
        delta: of softmax++, > 0; of ``"log"`` only 1 makes temperature 1 the sticks themselves.
        prior: ``"uniform"`` or ``"learned"``.

    Raises:
        ValueError: if a number is out of its range or a name unknown.

    Example:
        >>> latent = StickBreakingLatent(20, 10, temperature=0.5)
        >>> latent.posterior(torch.zeros(4, latent.inputs)).rsample().shape
        torch.Size([4, 20, 10])
    """

    def __init__(
        self,
        count: int,
        categories: int,
        temperature: float,
        sticks: Literal["log", "linear"] = "log",
        delta: float = 1.0,
        prior: Prior = "uniform",
    ) -> None:
        _check(count, categories, temperature=temperature, delta=delta)
        if sticks not in ("log", "linear"):
            raise ValueError(f"sticks must be log or linear, got {sticks!r}")
        super().__init__(count, categories, temperature, delta, uniform_mean_sticks_loc(categories), prior)
        self.sticks = sticks

    def transform(self) -> Any:
        """The map from Gaussian noise to sticks or their logarithms."""
        return LogStickBreaking() if self.sticks == "log" else StickBreaking()


class TruncatedStickBreakingLatent(_GaussianNoiseLatent):
    """V variables with as many categories as they need, up to K (IGR-SB with truncation).

    Each sample breaks its stick until more than a threshold of it is used; see :class:`StickBreakingGaussian`. The
    closed divergence is that of all K - 1 sticks. The mean sticks of the prior are uniform.

    Args:
        count: number V of variables.
        categories: K, at least 2: the most that a sample can use.
        temperature: > 0.
        delta: of softmax++, > 0.
        truncation: how many pieces are kept.
        prior: ``"uniform"`` or ``"learned"``.

    Raises:
        ValueError: if a number is out of its range or a name unknown.

    Example:
        >>> latent = TruncatedStickBreakingLatent(20, 50, temperature=0.15, truncation=PerSampleTruncation(0.5))
        >>> latent.posterior(torch.zeros(4, latent.inputs)).rsample().shape
        torch.Size([4, 20, 50])
    """

    def __init__(
        self,
        count: int,
        categories: int,
        temperature: float,
        delta: float = 1.0,
        truncation: Truncation = PerSampleTruncation(),  # noqa: B008  (frozen)
        prior: Prior = "uniform",
    ) -> None:
        _check(count, categories, temperature=temperature, delta=delta)
        super().__init__(count, categories, temperature, delta, uniform_mean_sticks_loc(categories), prior)
        self.truncation = truncation

    def _law(self, loc: Tensor, log_scale: Tensor, transform: Any) -> Any:
        settings = (self.temperature, self.delta)
        return StickBreakingGaussian(loc, log_scale, *settings, truncation=self.truncation, validate_args=False)


class ConcreteLatent(Latent):
    """V categorical variables relaxed by a :class:`Concrete` (Gumbel-Softmax); two categories are Bernoulli variables.

    Args:
        count: number V of variables.
        categories: K, at least 2.
        temperature: of the posterior, > 0.
        prior_temperature: of the relaxed prior, which a sampled divergence depends on; that of the posterior if
            omitted. The published experiments had 0.5 beside every temperature.
        prior: ``"uniform"`` or ``"learned"``.

    Raises:
        ValueError: if a number is out of its range or a name unknown.

    References:
        Maddison, Mnih and Teh, "The Concrete Distribution", ICLR 2017; Jang, Gu and Poole, ICLR 2017.

    Example:
        >>> latent = ConcreteLatent(20, 10, temperature=0.5)
        >>> latent.posterior(torch.zeros(4, latent.inputs)).rsample().shape
        torch.Size([4, 20, 10])
    """

    event_dim = 1

    def __init__(
        self,
        count: int,
        categories: int,
        temperature: float,
        prior_temperature: float | None = None,
        prior: Prior = "uniform",
    ) -> None:
        given = {} if prior_temperature is None else {"prior_temperature": prior_temperature}
        _check(count, categories, temperature=temperature, **given)
        super().__init__(count * categories, count * categories)
        self.shape = (count, categories)
        self.temperature = temperature
        self.prior_temperature = temperature if prior_temperature is None else prior_temperature
        self.prior_numbers = _Numbers(prior, logits=torch.zeros(self.shape))

    def posterior(self, parameters: Tensor) -> Concrete:
        """Logits of all variables."""
        return Concrete(self.temperature, parameters.unflatten(-1, self.shape), validate_args=False)

    def prior(self) -> Concrete:
        """By the prior's logits."""
        (logits,) = self.prior_numbers()
        return Concrete(self.prior_temperature, logits, validate_args=False)


def _uniform(categories: int, temperature: float, delta: float) -> Tensor:
    threshold = temperature * torch.tensor(delta, dtype=torch.float64).log()
    return uniform_loc(categories, torch.ones((), dtype=torch.float64), threshold)


def _check(count: int, categories: int, **positive: float) -> None:
    check_counts(count=count)
    if categories < 2:
        raise ValueError(f"categories must be at least 2, got {categories}")
    for name, number in positive.items():
        if not number > 0:
            raise ValueError(f"{name} must be positive, got {number}")
