"""A Gaussian vector through an invertible map and softmax++: a law on the simplex with an exact density."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints
from torch.distributions.kl import register_kl

from logprob.distributions import IntractableError
from logprob.simplex.category_probs import category_log_probs
from logprob.simplex.conditional_noise import gaussian_noise_given
from logprob.simplex.diagonal_gaussian import DiagonalGaussian
from logprob.simplex.entropy_bounds import log_sum_exp_bounds
from logprob.simplex.fast_softmax import append_score, gaussian_softmax
from logprob.simplex.from_probs import solve_loc, uniform_loc
from logprob.simplex.gaussian_kl import gaussian_kl
from logprob.simplex.own_sample import RemembersSample
from logprob.simplex.points import check_event, check_points, log_with_zeros, on_simplex
from logprob.simplex.relaxed import RelaxedOneHot, density_of_ratios
from logprob.simplex.settings import Number, check_positive, checks
from logprob.simplex.simplex_map import SimplexMap
from logprob.transforms import Transform


class InvertibleGaussian(RemembersSample, RelaxedOneHot):
    """Softmax with one extra constant score, of an invertible function of a Gaussian vector.

    With ``y ~ N(loc, diag(scale^2))`` in K - 1 dimensions, an invertible map g (``transform``) and ``l = g(y)``::

        psi = softmax(l_1 / temperature, ..., l_{K-1} / temperature, log delta)

    Every step is invertible, hence the exact density of the first K - 1 coordinates ::

        log q(psi) = sum_k log N(y_k) - log|det dg/dy| + (K - 1) log temperature - sum_{k<=K} log psi_k

    and the closed divergence of two laws with equal map, temperature and delta: that of their Gaussians. Without a
    map, ``log(psi_k / psi_K)`` is itself Gaussian (psi is logistic-normal), and the divergence stays closed between
    different temperatures and deltas. ``torch.distributions.kl_divergence`` knows both.

    The log-density of the law's own last sample uses the noise of that sample, so it is finite at any temperature. For
    any other value the map is inverted; a value with an entry that is exactly 0 is not in the open simplex and has
    the log-density -inf. In half precision samples are of the type of ``loc``; all is computed in float32, and
    log-densities and divergences stay float32, as a half could not hold them.

    The density of the law's own sample sends its gradient to the parameters, through the noise, and none to the tensor
    that was drawn; clone that to differentiate by the point. Make a new law after a step: changes of parameters in
    place are noticed, but those by fused optimisers or through ``.data`` are not.

    Args:
        loc: means, ``(..., K - 1)`` with K >= 2. K = 2 is the binary case.
        log_scale: natural logarithms of the standard deviations, broadcasts against ``loc``.
        temperature: positive; a number, or ``(...)``, or ``(..., 1)`` with at least as many dimensions as ``loc``.
        delta: weight of the extra category, positive, of the same shapes; 1 gives it the score 0.
        transform: invertible map of real vectors; the identity if omitted. Its codomain decides the support.
        scale: standard deviations, positive, instead of ``log_scale``.
        validate_args: whether to check arguments and values; torch's default. Say False under ``torch.func.vmap``.

    Raises:
        ValueError: unless exactly one of ``log_scale`` and ``scale`` is given; if K < 2; if a parameter is not finite,
            or not positive where it must be.
        TypeError: if ``loc`` is no tensor of a floating type.

    References:
        Potapczynski, Loaiza-Ganem, Cunningham, "Invertible Gaussian Reparameterization", NeurIPS 2020.

    Example:
        >>> import torch
        >>> q = InvertibleGaussian(torch.zeros(5, 3), torch.zeros(5, 3), temperature=0.01)
        >>> psi = q.rsample()
        >>> psi.shape, q.log_prob(psi).isfinite().all()
        (torch.Size([5, 4]), tensor(True))
        >>> p = InvertibleGaussian(torch.ones(3), torch.zeros(3), temperature=0.01)
        >>> torch.distributions.kl_divergence(q, p)
        tensor([1.5000, 1.5000, 1.5000, 1.5000, 1.5000])
    """

    arg_constraints = {  # noqa: RUF012  (torch's own class-level convention)
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
        "temperature": constraints.positive,
        "delta": constraints.positive,
    }

    def __init__(
        self,
        loc: Tensor,
        log_scale: Tensor | float | None = None,
        temperature: Number = 1.0,
        delta: Number = 1.0,
        transform: Transform | None = None,
        *,
        scale: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        gaussian = DiagonalGaussian(loc, log_scale, scale)
        map = SimplexMap(transform, temperature, delta, gaussian.loc)
        shape = gaussian.loc.shape if transform is None else transform.forward_shape(gaussian.loc.shape)
        batch = torch.broadcast_shapes(shape[:-1], map.temperature.shape, map.delta.shape)
        self._set(gaussian.expand(batch), map, batch, checks(validate_args))
        if self._validate_args:
            gaussian.check()
            check_positive("temperature", map.temperature)
            check_positive("delta", map.delta)

    def _set(self, gaussian: DiagonalGaussian, map: SimplexMap, batch: torch.Size, validate_args: bool) -> None:
        self.gaussian, self.map = gaussian, map
        self.loc, self.temperature, self.delta = gaussian.loc, map.temperature, map.delta
        RelaxedOneHot.__init__(self, batch, torch.Size((self.loc.shape[-1] + 1,)), validate_args=False)
        self._validate_args = validate_args

    def expand(self, batch_shape: Any, _instance: Any = None) -> InvertibleGaussian:
        """The same law with a batch shape; nothing is copied."""
        new: InvertibleGaussian = self._get_checked_instance(InvertibleGaussian, _instance)
        batch = torch.Size(batch_shape)
        new._set(self.gaussian.expand(batch), self.map, batch, self._validate_args)
        return new

    @classmethod
    def from_probs(
        cls, probs: Tensor, scale: Tensor | float = 1.0, temperature: Number = 1.0, delta: Number = 1.0
    ) -> InvertibleGaussian:
        """The law, without a map, whose category has given probabilities.

        Args:
            probs: positive, ``(..., K)``; zeros are infinitely far away.
            scale: standard deviations, any; broadcasts against ``(..., K - 1)``.
            temperature: of the law.
            delta: of the law.
        """
        like = probs[..., 1:]
        threshold = SimplexMap(None, temperature, delta, like).threshold
        loc = solve_loc(probs, torch.as_tensor(scale).to(like), threshold)
        return cls(loc, scale=scale, temperature=temperature, delta=delta)

    @classmethod
    def uniform(
        cls, categories: int, scale: Tensor | float = 1.0, temperature: Number = 1.0, delta: Number = 1.0
    ) -> InvertibleGaussian:
        """The law, without a map, whose K categories are equally probable; in closed form.

        Args:
            categories: K >= 2.
            scale: standard deviation, common to all coordinates; number or batch shape.
            temperature: of the law.
            delta: of the law.
        """
        like = torch.as_tensor(scale, dtype=torch.get_default_dtype()) if not isinstance(scale, Tensor) else scale
        loc = uniform_loc(categories, like, SimplexMap(None, temperature, delta, like).threshold)
        loc = loc.unsqueeze(-1).expand(*loc.shape, categories - 1)
        return cls(loc, scale=like.unsqueeze(-1), temperature=temperature, delta=delta)

    @property
    def transform(self) -> Transform | None:
        """The map g, or None for the identity."""
        return self.map.transform

    @property
    def threshold(self) -> Tensor:
        """Score of the extra category, ``temperature * log(delta)``, of a shape that broadcasts against the batch."""
        return self.map.threshold

    @property
    def scale(self) -> Tensor:
        """Standard deviations of y, ``batch_shape + (K - 1,)``."""
        return self.gaussian.scale

    @property
    def log_scale(self) -> Tensor:
        """Natural logarithms of the standard deviations of y, ``batch_shape + (K - 1,)``."""
        return self.gaussian.log_scale

    @property
    def base(self) -> Independent:
        """Law of the Gaussian vector y."""
        return self.gaussian.law

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> Any:
        """The simplex, or the part of it that the codomain of the map reaches."""
        return self.map.support()

    def draw_noise(self, sample_shape: Any = ()) -> Tensor:
        """Standard normal, ``sample_shape + batch_shape + (K - 1,)``."""
        return self.gaussian.draw_noise(sample_shape)

    def scores(self, noise: Tensor) -> Tensor:
        """``g(loc + scale * noise)`` and the threshold, ``(..., K)``."""
        return self.map.scores(self.gaussian.value(noise))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples ``sample_shape + batch_shape + (K,)``; entries can be exactly 0 at low temperature."""
        noise = self.draw_noise(sample_shape)
        if self.transform is None:
            law = self.gaussian.computing()
            psi = gaussian_softmax(law.loc, law.scale, noise, *self.map.columns)
        else:
            psi = self.map.psi(self.gaussian.value(noise))
        return self._remember(psi.to(self.loc.dtype), noise, self._tensors)

    def rsample_log(self, sample_shape: Any = ()) -> Tensor:
        """Logarithms of samples, ``sample_shape + batch_shape + (K,)``, finite at any temperature."""
        noise = self.draw_noise(sample_shape)
        return self._remember(self.map.log_psi(self.gaussian.value(noise)).to(self.loc.dtype), noise, self._tensors)

    def noise_given(self, category: Tensor) -> Tensor:
        """Noise from its law given one-hot categories ``(..., K)``, a differentiable function of loc and scale.

        Raises:
            IntractableError: if there is a map.
        """
        self._need_identity("noise given a category", "draw noise and keep what has the category")
        return gaussian_noise_given(self.loc, self.scale, self.threshold, category)

    def parameters(self) -> tuple[Tensor, Tensor]:
        """``(loc, log_scale)``, or ``(loc, scale)`` if that was given."""
        return self.loc, self.gaussian.given

    def with_parameters(self, *parameters: Tensor) -> InvertibleGaussian:
        """The law of the same map at other :meth:`parameters`."""
        new: InvertibleGaussian = self._get_checked_instance(InvertibleGaussian)
        gaussian = self.gaussian.at(*parameters)
        new._set(gaussian, self.map, gaussian.loc.shape[:-1], self._validate_args)
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of the first K - 1 coordinates of ``value``, in nats; -inf outside of the support."""
        if self._validate_args:
            self._validate_sample(value)
        y, log_psi, inside = self._recover(value, lambda: log_with_zeros(value))
        return _where(inside, self._log_prob_at(y) - log_psi.sum(-1))

    def log_prob_log(self, log_value: Tensor) -> Tensor:
        """Log-density of the first K - 1 coordinates of ``log psi``, in nats: the law on the log-simplex."""
        y, log_psi, inside = self._recover(log_value, lambda: log_value)
        return _where(inside, self._log_prob_at(y) - log_psi[..., -1])

    def log_prob_of_ratios(self, log_value: Tensor) -> Tensor:
        """Log-density of the additive log-ratios ``log(psi_k / psi_K)`` at ``log psi``, in nats.

        It is that of psi plus ``sum_{k<=K} log psi_k``; no term is huge. Without a map the log-ratios are Gaussian.
        """
        y, _, inside = self._recover(log_value, lambda: log_value)
        return _where(inside, self._log_prob_at(y))

    def log_ratio(self, other: Distribution, value: Tensor, stick_the_landing: bool = False) -> Tensor:
        """``log q(value) - log p(value)`` of this law q and another law p, in nats, without huge terms that cancel.

        The Jacobian of softmax++ is common to both and is not formed. If p has the same map, temperature and delta,
        only the Gaussian densities of y are left. The mean over samples of q estimates KL(q || p), also where that has
        no closed form.

        Args:
            other: p; a law of this family, or any with ``log_prob_of_ratios``.
            value: points of the simplex; q's own last sample if the temperature is low.
            stick_the_landing: leave out the gradient of ``log q`` with respect to its own parameters at a fixed value.
                Its mean is 0; without it the gradient's variance vanishes where q = p.

        Raises:
            ValueError: if p or ``value`` has another number of categories.
            TypeError: if p has no ``log_prob_of_ratios``.

        References:
            Roeder, Wu, Duvenaud, "Sticking the Landing", NeurIPS 2017.
        """
        theirs = density_of_ratios(other, self.event_shape)
        y, log_psi, inside = self._recover(value, lambda: log_with_zeros(value))
        shared = isinstance(other, InvertibleGaussian) and self.map.is_same(other.map)
        ours = self.gaussian.log_prob if shared else self._log_prob_at
        if isinstance(other, InvertibleGaussian) and shared:
            ratio = ours(y) - other.gaussian.log_prob(y)
        else:
            ratio = ours(y) - theirs(log_psi)
        if stick_the_landing:
            score = ours(y.detach() if shared else self._held(y, log_psi))
            ratio = ratio - (score - score.detach())
        return _where(inside, ratio)

    def _recover(self, value: Tensor, logarithm: Callable[[], Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """y, log psi, and where the value is in the support; None if it is one's own sample."""
        check_event(value, self.event_shape[0])
        noise = self._recall(value, self._tensors)
        if noise is None:
            log_psi = logarithm().to(self.gaussian.dtype)
            y, inside = self.map.invert(log_psi)
            return y, log_psi.where(inside.unsqueeze(-1), log_psi.new_zeros(())), inside
        y = self.gaussian.value(noise)
        log_psi = self.map.log_psi(y)
        return (y, log_psi, None) if value.requires_grad else (self._held(y, log_psi), log_psi.detach(), None)

    def _held(self, y: Tensor, log_psi: Tensor) -> Tensor:
        """y as a function of the map's parameters alone, psi being held; its value is not touched by rounding."""
        if not self.map.learned:
            return y.detach()
        inverse = self.map.invert(log_psi.detach())[0]
        return y.detach() + (inverse - inverse.detach())

    def _log_prob_at(self, y: Tensor) -> Tensor:
        """Log-density of the additive log-ratios ``log(psi_k / psi_K)`` at the point that y is sent to."""
        return self.gaussian.log_prob(y) - self.map.log_abs_det(y)

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        inner = () if self.transform is None else self.transform.parameters()
        outer = (self.loc, self.gaussian.given, self.temperature, self.delta)
        return (*outer, *(part for part in inner if isinstance(part, Tensor)))

    def _validate_sample(self, value: Tensor) -> None:
        check_event(value, self.event_shape[0])
        if self._recall(value, self._tensors) is None:
            check_points(value, on_simplex(value))

    @property
    def logits(self) -> Tensor:
        """Log-probabilities of the categories in nats, without a map only; differentiable.

        By quadrature: the probabilities are right to 1e-12 in float64, and to 1e-6 in types that hold no more.
        """
        self._need_identity("category probabilities", "sampled_probs estimates them")
        tolerance = 1e-12 if self.loc.dtype == torch.float64 else 1e-6
        return category_log_probs(self.loc, self.scale, self.threshold, tolerance)

    @torch.no_grad()
    def sampled_probs(self, samples: int = 1000) -> Tensor:
        """Frequencies of the categories in ``samples`` draws, ``batch_shape + (K,)``; without gradient.

        The standard error of a frequency p is ``sqrt(p (1 - p) / samples)``.
        """
        category = self.scores(self.draw_noise((samples,))).argmax(-1)
        return F.one_hot(category, self.event_shape[0]).to(self.loc.dtype).mean(0)

    @property
    def mean(self) -> Tensor:
        """Raises :class:`IntractableError`: a logistic-normal law has no mean in closed form."""
        raise IntractableError("InvertibleGaussian has no mean in closed form; sampled_mean estimates it")

    def sampled_mean(self, samples: int = 1000) -> Tensor:
        """Average of ``samples`` draws, ``batch_shape + (K,)``; differentiable."""
        return self.map.psi(self.gaussian.value(self.draw_noise((samples,)))).mean(0).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        """Raises :class:`IntractableError`: the mean log-Jacobian of softmax++ has no closed form."""
        raise IntractableError(
            "InvertibleGaussian has no entropy in closed form; sampled_entropy estimates it, entropy_bounds bounds it"
        )

    def sampled_entropy(self, samples: int = 1000) -> Tensor:
        """Unbiased estimate of the differential entropy of psi, in nats: exact for y, sampled for the Jacobian."""
        y = self.gaussian.value(self.draw_noise((samples,)))
        return self.gaussian.entropy() + (self.map.log_abs_det(y) + self.map.log_psi(y).sum(-1)).mean(0)

    def entropy_bounds(self) -> tuple[Tensor, Tensor]:
        """Lower and upper bound of the differential entropy of psi, in nats, in closed form; without a map only.

        Without a map the entropy is that of y, minus ``(K - 1) log temperature``, plus the mean of
        ``sum_{k<=K} log psi_k``, in which only ``K E log sum_k exp(x_k)`` with the scores ``x = (y / temperature,
        log delta)`` has no closed form; see :func:`~logprob.simplex.entropy_bounds.log_sum_exp_bounds`.

        Raises:
            IntractableError: if there is a map.
        """
        self._need_identity("closed bounds of the entropy", "sampled_entropy estimates the entropy")
        temperature, log_delta = self.map.columns
        law = self.gaussian.standardised(temperature.new_zeros(()), temperature)
        loc = append_score(law.loc, log_delta)
        least, most = log_sum_exp_bounds(loc, append_score(law.scale, torch.zeros_like(log_delta)))
        known = law.entropy() + loc.sum(-1)
        return known - self.event_shape[0] * most, known - self.event_shape[0] * least

    def _need_identity(self, what: str, remedy: str) -> None:
        if self.transform is not None:
            raise IntractableError(
                f"InvertibleGaussian with a {type(self.transform).__name__} map has no {what}; {remedy}"
            )


def _where(inside: Tensor | None, result: Tensor) -> Tensor:
    return result if inside is None else result.where(inside, result.new_tensor(-torch.inf))


@register_kl(InvertibleGaussian, InvertibleGaussian)
def _kl(q: InvertibleGaussian, p: InvertibleGaussian) -> Tensor:
    """Closed for equal maps, and without a map whatever temperatures and deltas; refused otherwise."""
    if q.event_shape != p.event_shape:
        raise ValueError(f"expected laws of equally many categories, got {q.event_shape[0]} and {p.event_shape[0]}")
    of, to = q.gaussian.computing(), p.gaussian.computing()
    if q.map.is_surely(p.map):
        pass
    elif q.transform is None and p.transform is None:  # the additive log-ratios are Gaussian
        of, to = (law.standardised(*reversed(map.columns)) for law, map in ((of, q.map), (to, p.map)))
    elif difference := q.map.difference(p.map):
        raise IntractableError(
            f"two InvertibleGaussian laws have a closed divergence if one map makes both; here {difference}. Estimate "
            "it by q.log_ratio(p, q.rsample((n,))).mean(0); it is infinite if p does not reach all that q does, as "
            "can be with broken sticks"
        )
    return gaussian_kl(of.loc, of.log_scale, to.loc, to.log_scale)
