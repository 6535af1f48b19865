"""Gaussian sticks in any number: a relaxed law on countably many categories, of which a sample keeps a few."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints
from torch.distributions.kl import register_kl

from logprob.distributions import IntractableError
from logprob.simplex.kept_sticks import KeptPieces, KeptSticks, Point
from logprob.simplex.mean_sticks import mean_sticks
from logprob.simplex.own_sample import RemembersSample
from logprob.simplex.points import check_event, check_points, log_with_zeros, on_simplex
from logprob.simplex.relaxed import RelaxedOneHot
from logprob.simplex.settings import Number, check_finite, check_floating, check_positive, checks
from logprob.simplex.stick_noise import StickNoise, StickTail
from logprob.simplex.truncation import PerSampleTruncation, Truncation


class StickBreakingGaussian(RemembersSample, RelaxedOneHot):
    """A stick broken at Gaussian places until enough of it is used, and softmax++ of its pieces (IGR-SB).

    With ``y_k ~ N(loc_k, scale_k^2)``, pieces ``eta = StickBreaking(y)`` and the number R of pieces that the truncation
    keeps, a sample is ::

        psi = (softmax(eta_1 / temperature, ..., eta_R / temperature, log delta), 0, ..., 0)

    Entry R + 1 stands for all that was cut off. There are K - 1 sticks at most, M of them with parameters, the others
    of the ``tail``'s law; they are drawn 16 at a time until every sample has enough, so that neither memory nor
    numbers depend on the maximum, if the truncation is per sample.

    *Densities.* If samples are truncated one by one, ``log_prob`` is the exact density of psi with respect to the sum,
    over R, of the Lebesgue measures on its first R coordinates: on vectors with R + 1 positive entries it is the
    density of the R-stick law, restricted to where R is the number that is kept. R is read off psi, so of a value that
    underflowed to 0 it is not known; the law's own last sample keeps its noise. If they are truncated together
    (:class:`QuantileTruncation`) there is no density.

    *Divergences.* ``kl_divergence`` is that of all the sticks, in closed form: exact for y, an upper bound for psi,
    which forgets the sticks beyond R. The tail adds nothing if both laws share it. :meth:`log_ratio` of samples that
    were truncated one by one counts the sticks up to R; its mean is the divergence of psi.

    Args:
        loc: means of the first M sticks, ``(..., M)``, M >= 1.
        log_scale: logarithms of the standard deviations; broadcasts against ``loc``.
        temperature: > 0; number, ``(...)`` or ``(..., 1)``.
        delta: weight of what was cut off, > 0, of the same shapes. At delta <= 1 it is never the largest entry.
        scale: standard deviations, instead of ``log_scale``.
        truncation: how many pieces are kept; each sample's own number at the threshold 0.9 if omitted.
        tail: further sticks; none if omitted. K = M + 1 + the tail's sticks.
        validate_args: whether to check arguments and values; torch's default.

    Raises:
        ValueError: unless exactly one of ``log_scale`` and ``scale`` is given, if M < 1, or if a parameter is not
            finite, or not positive where it must be.

    Note:
        The number of blocks depends on the draw, so ``rsample`` is not for ``torch.func.vmap`` or one compiled graph.

    References:
        Potapczynski, Loaiza-Ganem and Cunningham, "Invertible Gaussian Reparameterization", NeurIPS 2020, Section 3.3;
        there, the truncation is :class:`QuantileTruncation`.

    Example:
        >>> import torch
        >>> q = StickBreakingGaussian(torch.zeros(5, 9), torch.zeros(5, 9), temperature=0.1, tail=StickTail(190))
        >>> psi = q.rsample()
        >>> psi.shape, q.log_prob(psi).isfinite().all()
        (torch.Size([5, 200]), tensor(True))
        >>> p = StickBreakingGaussian(torch.ones(1), torch.zeros(1), temperature=0.1, tail=StickTail(198))
        >>> torch.distributions.kl_divergence(q, p)
        tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000])
    """

    arg_constraints = {  # noqa: RUF012  (torch's own class-level convention)
        "loc": constraints.real_vector,
        "log_scale": constraints.real_vector,
        "temperature": constraints.positive,
        "delta": constraints.positive,
    }

    def __init__(
        self,
        loc: Tensor,
        log_scale: Tensor | float | None = None,
        temperature: Number = 1.0,
        delta: Number = 1.0,
        *,
        scale: Tensor | float | None = None,
        truncation: Truncation = PerSampleTruncation(),  # noqa: B008  (frozen)
        tail: StickTail | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (log_scale is None) == (scale is None):
            raise ValueError(f"expected one of log_scale and scale, got {'neither' if scale is None else 'both'}")
        given = torch.as_tensor(log_scale if scale is None else scale, dtype=loc.dtype, device=loc.device)
        check_floating("loc", loc)
        loc, given = torch.broadcast_tensors(loc, given)
        if loc.dim() == 0 or loc.shape[-1] == 0:
            raise ValueError(f"expected loc of shape (..., M) with M >= 1, got {tuple(loc.shape)}")
        noise = StickNoise(loc, given if scale is None else given.log(), StickTail(0) if tail is None else tail)
        map = KeptSticks(truncation, noise.most + 1, temperature, delta, loc)
        batch = torch.broadcast_shapes(loc.shape[:-1], map.temperature.shape, map.delta.shape)
        self._set(noise.expand(batch), map, batch, checks(validate_args))
        if self._validate_args:
            check_finite("loc", loc)
            check_finite("log_scale", given) if scale is None else check_positive("scale", given)
            check_positive("temperature", map.temperature)
            check_positive("delta", map.delta)

    def _set(self, noise: StickNoise, map: KeptSticks, batch: torch.Size, validate_args: bool) -> None:
        self.noise, self.map = noise, map
        self.loc, self.log_scale, self.temperature, self.delta = noise.loc, noise.log_scale, map.temperature, map.delta
        RelaxedOneHot.__init__(self, batch, torch.Size((map.categories,)), validate_args=False)
        self._validate_args = validate_args

    def expand(self, batch_shape: Any, _instance: Any = None) -> StickBreakingGaussian:
        """The same law with a batch shape; nothing is copied."""
        new: StickBreakingGaussian = self._get_checked_instance(StickBreakingGaussian, _instance)
        batch = torch.Size(batch_shape)
        new._set(self.noise.expand(batch), self.map, batch, self._validate_args)
        return new

    @property
    def scale(self) -> Tensor:
        """Standard deviations of the sticks that have parameters, ``batch_shape + (M,)``."""
        return self.log_scale.exp()

    @property
    def truncation(self) -> Truncation:
        """How many pieces are kept."""
        return self.map.truncation

    @property
    def tail(self) -> StickTail:
        """Law of the sticks without parameters."""
        return self.noise.tail

    @property
    def threshold(self) -> Tensor:
        """Score of what was cut off, ``temperature * log(delta)``."""
        return self.map.threshold

    @property
    def base(self) -> Independent:
        """Law of the Gaussian numbers behind all K - 1 sticks."""
        loc, log_scale = self.noise.numbers(self.noise.most)
        return Independent(Normal(loc, log_scale.exp(), validate_args=False), 1, validate_args=False)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> Any:
        """Softmax++ of the kept pieces of a stick, and zeros."""
        return KeptPieces(self.map)

    @property
    def mean_sticks(self) -> Tensor:
        """Means of all K - 1 pieces and of the remainder, before truncation, ``batch_shape + (K,)``; by quadrature.

        This is the mean of the sticks and not of psi, nor the law of its largest entry.
        """
        loc, log_scale = self.noise.numbers(self.noise.most)
        return mean_sticks(loc, log_scale.exp())

    @property
    def logits(self) -> Tensor:
        """Raises :class:`IntractableError`."""
        raise IntractableError(
            "the probabilities of the categories of Gaussian sticks have no closed form; use sampled_probs for their "
            "frequencies, or mean_sticks for the means of the pieces"
        )

    @torch.no_grad()
    def sampled_probs(self, samples: int = 1000) -> Tensor:
        """Frequencies of the categories in ``samples`` draws, ``batch_shape + (K,)``; without gradient.

        The standard error of a frequency p is ``sqrt(p (1 - p) / samples)``.
        """
        category = self.scores(self.draw_noise((samples,))).argmax(-1).movedim(0, -1)
        counts = torch.zeros(*self.batch_shape, self.event_shape[0], dtype=torch.float64, device=self.loc.device)
        return (counts.scatter_add_(-1, category, torch.ones_like(category).double()) / samples).to(self.loc)

    @property
    def mean(self) -> Tensor:
        """Raises :class:`IntractableError`."""
        raise IntractableError(
            "the mean of psi has no closed form; sampled_mean estimates it, mean_sticks is that of eta"
        )

    def sampled_mean(self, samples: int = 1000) -> Tensor:
        """Average of ``samples`` draws, ``batch_shape + (K,)``; differentiable."""
        y = self.noise.value(self.draw_noise((samples,)))
        return self.map.psi(self.map.keep(y)).mean(0).to(self.loc.dtype)

    def parameters(self) -> tuple[Tensor, Tensor]:
        """``(loc, log_scale)`` of the sticks that have parameters."""
        return self.loc, self.log_scale

    def with_parameters(self, *parameters: Tensor) -> StickBreakingGaussian:
        """The law of the same settings at other :meth:`parameters`."""
        new: StickBreakingGaussian = self._get_checked_instance(StickBreakingGaussian)
        loc, log_scale = parameters
        noise = StickNoise(loc, log_scale, self.tail)
        new._set(noise, self.map, noise.loc.shape[:-1], self._validate_args)
        return new

    def draw_noise(self, sample_shape: Any = ()) -> Tensor:
        """Standard normal, ``sample_shape + batch_shape + (n,)``, for as many sticks ``n <= K - 1`` as are needed."""
        return self.noise.draw(sample_shape, self.truncation)

    def scores(self, noise: Tensor) -> Tensor:
        """Pieces that are kept, the threshold as entry R + 1, and -inf beyond, ``(..., K)``.

        Args:
            noise: as :meth:`draw_noise` gives it, of one stick or more.
        """
        return self.map.scores(self.map.keep(self.noise.value(noise)))

    def kept(self, noise: Tensor) -> Tensor:
        """Number R of pieces that samples of some noise keep, ``sample_shape + batch_shape``."""
        return self.map.keep(self.noise.value(noise)).number

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples ``sample_shape + batch_shape + (K,)``; entries beyond R + 1 are exactly 0."""
        noise = self.draw_noise(sample_shape)
        psi = self.map.psi(self.map.keep(self.noise.value(noise)))
        return self._remember(psi.to(self.loc.dtype), noise, self._tensors)

    def rsample_log(self, sample_shape: Any = ()) -> Tensor:
        """Logarithms of samples: finite up to entry R + 1 at any temperature, -inf beyond."""
        noise = self.draw_noise(sample_shape)
        log_psi = self.map.log_psi(self.map.keep(self.noise.value(noise)))
        return self._remember(log_psi.to(self.loc.dtype), noise, self._tensors)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of psi among the vectors with as many positive entries, in nats; -inf outside of the support.

        Raises:
            IntractableError: if samples are truncated together.
            ValueError: if arguments are checked and a value is not on the simplex.
        """
        at = self._point(value)
        return torch.where(at.inside, self._log_prob_of_ratios(at) - at.log_psi.sum(-1), -torch.inf)

    def log_prob_log(self, log_value: Tensor) -> Tensor:
        """Log-density of the first R coordinates of ``log psi``, in nats: the law on the log-simplex.

        Raises:
            IntractableError: if samples are truncated together.
        """
        check_event(log_value, self.map.categories)
        at = self._recall_point(log_value) or self.map.invert(log_value.to(self.noise.dtype))
        return torch.where(at.inside, self._log_prob_of_ratios(at) - at.last, -torch.inf)

    def log_ratio(self, other: Distribution, value: Tensor, stick_the_landing: bool = False) -> Tensor:
        """``log q(value) - log p(value)`` of this law q and another p, in nats, from the densities of their sticks.

        The sticks up to R count, and the mean over samples of q is the divergence of the two laws of psi. If samples
        are truncated together, all sticks count, and it is the divergence that ``kl_divergence`` gives.

        Args:
            other: a law of the same temperature, delta, truncation and number of categories.
            value: a point; the last sample of this law if samples are truncated together.
            stick_the_landing: let no gradient reach the parameters of q but through ``value``, which leaves out a term
                of mean zero.

        Raises:
            IntractableError: if the laws do not share these, or if samples are truncated together and ``value`` is not
                the last of this law.

        References:
            Roeder, Wu and Duvenaud, "Sticking the Landing", NeurIPS 2017.
        """
        p = _of_same_map(self, other)
        q = self.noise.detach() if stick_the_landing else self.noise
        noise = self._recall(value, self._tensors)
        if noise is not None and not self.truncation.independent:
            y = self.noise.value(noise)
            return (q.log_densities(y) - p.noise.log_densities(y)).sum(-1)
        at = self._point(value)
        terms = torch.where(at.own, q.log_densities(at.y) - p.noise.log_densities(at.y), 0.0)
        return torch.where(at.inside, terms.sum(-1), -torch.inf)

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        return (self.loc, self.log_scale, self.temperature, self.delta)

    def _point(self, value: Tensor) -> Point:
        own = self._recall_point(value)
        if own is not None:
            return own
        check_event(value, self.map.categories)
        if self._validate_args:
            check_points(value, on_simplex(value))
        return self.map.invert(log_with_zeros(value.to(self.noise.dtype)))

    def _recall_point(self, value: Tensor) -> Point | None:
        if not self.truncation.independent:
            raise IntractableError(
                f"samples that {type(self.truncation).__name__} cuts together have no density of their own; use "
                "PerSampleTruncation, or kl_divergence, which is that of all the sticks"
            )
        noise = self._recall(value, self._tensors)
        return None if noise is None else self.map.point(self.noise.value(noise))

    def _log_prob_of_ratios(self, at: Point) -> Tensor:
        """Log-density of ``log(psi_k / psi_{R+1})``, k up to R."""
        # The log-determinant of StickBreaking for R sticks, see there.
        count = at.own.sum(-1, keepdim=True) + 1 - torch.arange(at.own.shape[-1], device=at.own.device)
        broken = at.y - count * F.softplus(at.y, threshold=40)
        tau = self.temperature.unsqueeze(-1)
        return torch.where(at.own, self.noise.log_densities(at.y) - broken + tau.log(), 0.0).sum(-1)


def _of_same_map(q: StickBreakingGaussian, p: Distribution) -> StickBreakingGaussian:
    if isinstance(p, StickBreakingGaussian) and q.map.is_same(p.map):
        return p
    raise IntractableError(
        "two laws of truncated sticks are compared stick by stick if temperature, delta, truncation and number of "
        "categories are the same: with others the supports differ, and the divergence can be infinite; average "
        "q.log_prob(x) - p.log_prob(x) instead"
    )


@register_kl(StickBreakingGaussian, StickBreakingGaussian)
def _kl_sticks(q: StickBreakingGaussian, p: StickBreakingGaussian) -> Tensor:
    """Of all sticks, in closed form."""
    return q.noise.kl(_of_same_map(q, p).noise)
