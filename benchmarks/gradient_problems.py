"""Small expectations over categories whose gradient is known by enumeration; shared by the gradient benchmarks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from logprob.simplex import Concrete, InvertibleGaussian

FUNCTIONS = ("linear", "quadratic", "mlp")
HIDDEN = 32
Function = Callable[[Tensor], Tensor]


def function_of(name: str, inputs: int, stream: torch.Generator) -> Function:
    """A random function of vectors ``(..., inputs)``: ``a.z``, ``z'Qz`` or ``w.tanh(2 W z)``."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=stream)

    a, q = normal(inputs), normal(inputs, inputs)
    first, second = normal(inputs, HIDDEN) / inputs**0.5, normal(HIDDEN) / HIDDEN**0.5
    functions: dict[str, Function] = {
        "linear": lambda z: z @ a,
        "quadratic": lambda z: ((z @ q) * z).sum(-1),
        "mlp": lambda z: torch.tanh(2 * z @ first) @ second,
    }
    return functions[name]


class Problem:
    """One variable of K categories and a function of it.

    Args:
        categories: K.
        function: one of :data:`FUNCTIONS`.
        seed: of locations, ``N(0, 1)``, and of the function.

    Attributes:
        loc: means of the invertible Gaussian, whose scale is 1, ``(K - 1,)``.
        logits: log-probabilities of its categories, which are those of the Concrete law too, ``(K,)``.
        f: the function, from ``(..., 1, K)`` to ``(...)``.
        gradient: of ``E f`` with respect to the logits, ``(K,)``; exact.
    """

    def __init__(self, categories: int, function: str, seed: int) -> None:
        stream = torch.Generator().manual_seed(seed)
        self.loc = torch.randn(categories - 1, dtype=torch.float64, generator=stream)
        of_vectors = function_of(function, categories, stream)
        self.f: Function = lambda z: of_vectors(z).sum(-1)
        self.logits = gaussian(self.loc, 1.0).logits
        probs = self.logits.exp()
        values = of_vectors(torch.eye(categories, dtype=torch.float64))
        self.gradient = probs * (values - probs @ values)

    def to_logits(self, gradients: Tensor) -> Tensor:
        """Gradients with respect to ``loc``, ``(..., K - 1)``, as gradients with respect to the logits, ``(..., K)``.

        At a fixed scale ``loc`` and the log-ratios ``log P_k / P_K`` are functions of each other; with J the Jacobian
        of the latter by the former, the gradient by log-ratios is ``J^-T`` times that by ``loc``. A gradient by
        logits is the same numbers, and a last one that makes their sum 0.
        """
        ratios = torch.autograd.functional.jacobian(_log_ratios, self.loc)
        found = torch.linalg.solve(ratios.T, gradients.flatten(0, -2).T).T.reshape(gradients.shape)
        return torch.cat([found, -found.sum(-1, keepdim=True)], -1)


def _log_ratios(loc: Tensor) -> Tensor:
    logits = gaussian(loc, 1.0).logits
    return logits[..., :-1] - logits[..., -1:]


def gaussian(loc: Tensor, temperature: float) -> InvertibleGaussian:
    """The invertible Gaussian of scale 1 and delta 1, whose categories do not depend on the temperature."""
    return InvertibleGaussian(loc, torch.zeros_like(loc), temperature, validate_args=False)


def concrete(logits: Tensor, temperature: float) -> Concrete:
    """The Concrete law (Gumbel-Softmax)."""
    return Concrete(temperature, logits, validate_args=False)
