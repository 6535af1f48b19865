"""RELAX: REBAR with a network that learns what the function's relaxation leaves over."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from logprob.gradients.base import Function, evaluate
from logprob.gradients.category import relax
from logprob.gradients.control_variate import ControlledScoreFunction
from logprob.simplex.rebar import log_temperatures


class ControlNetwork(nn.Module):
    """A small network of relaxed samples: ``scale * (W_2 relu(W_1 (2 z - 1) + b_1) + b_2)``, one number a sample.

    Args:
        count: number V of variables that are joined.
        categories: K.
        hidden: width.

    Raises:
        ValueError: if a number is below 1.

    Example:
        >>> import torch
        >>> ControlNetwork(3, 4)(torch.full((5, 3, 4), 0.25)).shape
        torch.Size([5])
    """

    def __init__(self, count: int, categories: int, hidden: int = 50) -> None:
        super().__init__()
        if min(count, categories, hidden) < 1:
            raise ValueError(f"expected positive numbers, got {count}, {categories} and {hidden}")
        self.layers = nn.Sequential(nn.Linear(count * categories, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.scale = nn.Parameter(torch.ones(()))
        self.shape = (count, categories)

    def forward(self, z: Tensor) -> Tensor:
        """Relaxed samples ``(..., V, K)`` to ``(...)``.

        Raises:
            ValueError: if the last two dimensions are not those it was made for.
        """
        if z.shape[-2:] != self.shape:
            raise ValueError(f"expected relaxed samples (..., {self.shape[0]}, {self.shape[1]}), got {tuple(z.shape)}")
        output: Tensor = self.layers(2 * z.flatten(-2) - 1)
        return self.scale * output.squeeze(-1)


class RELAX(ControlledScoreFunction):
    """The score function with ``c(z) = eta f(softmax(z / temperature)) + network(softmax(z / temperature))``. Unbiased.

    As :class:`REBAR`, with a network that is trained with the temperature and ``eta``. Without ``eta`` the network is
    all of the control variate, and ``f``, which is then called once, may be a black box.

    Args:
        network: takes relaxed samples ``(..., V, K)`` and gives one number a sample; differentiable.
        temperature: first value of the temperature, > 0.
        eta: first value of the scale of ``f``; None leaves the term out.
        count: number V of variables, each with a temperature of its own; one temperature for all if omitted.

    Attributes:
        log_temperature: ``()`` or ``(V,)``.
        eta: ``()``, or None.

    Raises:
        ValueError: if ``temperature`` is not positive or ``count`` is below 1.

    References:
        Grathwohl, Choi, Wu, Roeder and Duvenaud, "Backpropagation through the Void", ICLR 2018.

    Example:
        >>> import torch
        >>> from logprob.simplex.concrete import Concrete
        >>> logits, relax = torch.zeros(3, 4, requires_grad=True), RELAX(ControlNetwork(3, 4), eta=None)
        >>> relax(Concrete(torch.tensor(0.5), logits), lambda z: (z.argmax(-1) == 1).sum(-1).float()).backward()
        >>> logits.grad.shape, relax.network.scale.grad.shape
        (torch.Size([3, 4]), torch.Size([]))
    """

    def __init__(
        self, network: nn.Module, temperature: float = 0.5, eta: float | None = 1.0, count: int | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.log_temperature = log_temperatures(temperature, count)
        self.eta = None if eta is None else nn.Parameter(torch.tensor(float(eta)))

    def control(self, f: Function, scores: Tensor, sample_shape: tuple[int, ...]) -> Tensor:
        """``eta f + network`` at the relaxed samples of ``scores``."""
        z = relax(scores, self.log_temperature.exp())
        control: Tensor = self.network(z)
        return control if self.eta is None else control + self.eta * evaluate(f, z, sample_shape)
