"""REBAR: the function at relaxed samples as a control variate of the score function."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from logprob.gradients.base import Function, evaluate
from logprob.gradients.category import relax
from logprob.gradients.control_variate import ControlledScoreFunction


class REBAR(ControlledScoreFunction):
    """The score function with the control variate ``c(z) = eta f(softmax(z / temperature))``. Unbiased.

    ``z`` are the scores of the law: Gumbel variables for a :class:`Concrete`, Gaussian ones and the threshold for an
    :class:`InvertibleGaussian`, whose identity map alone allows the conditional draw. The temperature and ``eta`` are
    free parameters: in the backward pass of the loss they take the gradient of the squared norm of the estimate. The
    temperature is not that of the law, which plays no part.

    ``f`` is called three times, once with one-hot and twice with relaxed samples, where it must be differentiable.

    Args:
        temperature: first value of the temperature, > 0.
        eta: first value of the scale.
        count: number V of variables (the last dimension of the batch shape), each with a temperature of its own; one
            temperature for all if omitted.

    Attributes:
        log_temperature: ``()`` or ``(V,)``.
        eta: ``()``.

    Raises:
        ValueError: if ``temperature`` is not positive or ``count`` is below 1.

    References:
        Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein, "REBAR", NeurIPS 2017.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> logits, rebar = torch.zeros(3, 4, requires_grad=True), REBAR()
        >>> q = Concrete(torch.tensor(0.5), logits)
        >>> rebar(q, lambda z: z.square().sum((-1, -2)), (8,)).mean().backward()
        >>> logits.grad.shape, rebar.eta.grad.shape, rebar.log_temperature.grad.shape
        (torch.Size([3, 4]), torch.Size([]), torch.Size([]))
    """

    def __init__(self, temperature: float = 0.5, eta: float = 1.0, count: int | None = None) -> None:
        super().__init__()
        self.log_temperature = log_temperatures(temperature, count)
        self.eta = nn.Parameter(torch.tensor(float(eta)))

    def control(self, f: Function, scores: Tensor, sample_shape: tuple[int, ...]) -> Tensor:
        """``eta f(softmax(scores / temperature))``."""
        return self.eta * evaluate(f, relax(scores, self.log_temperature.exp()), sample_shape)


def log_temperatures(temperature: float, count: int | None) -> nn.Parameter:
    """A parameter ``()`` or ``(count,)``, the logarithm of ``temperature``."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if count is not None and count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    return nn.Parameter(torch.full(() if count is None else (count,), math.log(temperature)))
