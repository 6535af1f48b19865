"""Score-function gradients with a control variate at relaxed samples: what REBAR and RELAX share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from logprob.gradients.base import CategoricalLaw, Function, GradientEstimator, evaluate
from logprob.gradients.category import dtype_of, harden, join, log_prob_of, with_backward_of

_NOT_DIFFERENTIABLE = (
    "the control variate must be a differentiable function of relaxed samples, and f does not depend on them "
    "differentiably; RELAX with eta=None, or LeaveOneOut, need no gradient of f"
)


class ControlledScoreFunction(GradientEstimator):
    """``(f(b) - c(z')) grad log p(b) + grad c(z) - grad c(z')``: unbiased for any differentiable ``c``.

    ``z`` are the scores of free noise and ``b`` their category, ``z'`` scores of noise drawn anew given ``b``. A
    subclass says what ``c`` is. Its free parameters take the gradient of the squared norm of the estimate with respect
    to ``q.parameters()``, a mean over all samples; ``f``'s own parameters take theirs from ``f(b)`` alone.

    Every sample is differentiated for itself, so nothing may join samples or rows in ``f`` (batch normalisation).
    """

    unbiased: ClassVar[bool] = True

    @abstractmethod
    def control(self, f: Function, scores: Tensor, sample_shape: tuple[int, ...]) -> Tensor:
        """``c`` at scores ``(sample_shape, *batch, *rest, K)``, one number a sample."""

    def forward(self, q: CategoricalLaw, f: Function, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """``f`` at one-hot samples, ``sample_shape + batch``.

        Raises:
            ValueError: if ``c`` is not a differentiable function of the scores.
            IntractableError: if ``q`` cannot draw noise given a category.
        """
        sample_shape, dtype = torch.Size(sample_shape), dtype_of(q)
        copies = _Copies(q, sample_shape)
        scores = copies.law.scores(copies.law.draw_noise())
        category = harden(scores).to(dtype)
        value = evaluate(f, category, sample_shape)
        if not torch.is_grad_enabled() or not copies.leaves:
            return value
        free = [parameter for parameter in self.parameters() if parameter.requires_grad]
        in_its_type: Function = lambda z: f(z.to(dtype))  # noqa: E731  (scores may be of a wider type than the law)
        parts = self._parts(in_its_type, copies.law, scores, category, value.detach(), len(sample_shape))
        gradients = _estimates(parts, copies.leaves, keep_graph=bool(free))
        if free:
            value = with_backward_of(value, _squared_norm(gradients, free, value))
        return with_backward_of(value, _linear(copies.originals, gradients, value.dim()))

    def _parts(
        self, f: Function, law: CategoricalLaw, scores: Tensor, category: Tensor, value: Tensor, dims: int
    ) -> _Parts:
        """The parts of the estimate where ``value`` is ``f(b)``, and samples have ``dims`` dimensions."""
        conditional = law.scores(law.noise_given(category))
        free, given = (self.control(f, z, torch.Size(z.shape[:dims])) for z in (scores, conditional))
        return _Parts(value - given, log_prob_of(law.logits, category, value.dim()), free - given)


class _Parts(NamedTuple):
    """Of each sample: ``f(b) - c(z')``, ``log p(b)`` and ``c(z) - c(z')``."""

    advantage: Tensor
    log_prob: Tensor
    difference: Tensor


class _Copies:
    """A law with parameters of its own for each sample, so that one backward pass gives each sample's gradient."""

    def __init__(self, q: CategoricalLaw, sample_shape: tuple[int, ...]) -> None:
        originals = q.parameters()
        copies = [original.detach().expand(sample_shape + original.shape).clone() for original in originals]
        for original, copy in zip(originals, copies, strict=True):
            copy.requires_grad_(original.requires_grad)
        self.law = q.with_parameters(*copies)
        self.originals = [original for original in originals if original.requires_grad]
        self.leaves = [copy for copy in copies if copy.requires_grad]


def _estimates(parts: _Parts, leaves: Sequence[Tensor], keep_graph: bool) -> list[Tensor]:
    """Each sample's gradient, of the shapes of ``leaves``; with ``keep_graph`` a function of what ``c`` depends on."""
    if not parts.difference.requires_grad:
        raise ValueError(_NOT_DIFFERENTIABLE)
    scores = torch.autograd.grad(parts.log_prob.sum(), leaves, retain_graph=True, materialize_grads=True)
    pathwise = torch.autograd.grad(
        parts.difference.sum(), leaves, retain_graph=keep_graph, create_graph=keep_graph, allow_unused=True
    )
    if all(path is None for path in pathwise):
        raise ValueError(_NOT_DIFFERENTIABLE)
    advantage = parts.advantage if keep_graph else parts.advantage.detach()
    weighted = [score * _like(advantage, score) for score in scores]
    return [estimate if path is None else estimate + path for estimate, path in zip(weighted, pathwise, strict=True)]


def _squared_norm(gradients: Sequence[Tensor], free: Sequence[Tensor], value: Tensor) -> Tensor:
    """A surrogate for each sample whose backward pass brings ``free`` the gradient of the mean squared norm."""
    squares = sum((join(gradient.square(), value.dim()) for gradient in gradients), value.new_zeros(()))
    found = torch.autograd.grad(squares.mean(), free, materialize_grads=True)
    linear = sum(((p * g).sum() for p, g in zip(free, found, strict=True)), value.new_zeros(()))
    surrogate = (linear - linear.detach()).expand(value.shape)
    # It is minimised, also where the loss has -f.
    surrogate.register_hook(torch.abs)
    return surrogate


def _linear(originals: Sequence[Tensor], gradients: Sequence[Tensor], dims: int) -> Tensor:
    """A number for each sample whose gradient with respect to ``originals`` is ``gradients``."""
    terms = [join(o * g.detach(), dims) for o, g in zip(originals, gradients, strict=True)]
    return torch.stack(terms).sum(0)


def _like(values: Tensor, other: Tensor) -> Tensor:
    """``values`` with as many dimensions as ``other``."""
    return values.reshape(values.shape + (1,) * (other.dim() - values.dim()))
