"""Input units of discrete variables: tables of values, looked up."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.circuits import gram, scaled, signed_log
from logprob.circuits.gram import Gram
from logprob.circuits.initializers import Initializer
from logprob.circuits.inputs import InputFamily, Tensors
from logprob.circuits.scaled import Scaled
from logprob.circuits.signed_log import SignedLog


class _Table(InputFamily):
    """Functions of finitely many states, given by a table of their values."""

    @abstractmethod
    def scaled_table(self, theta: Tensors) -> Scaled:
        """``f_k(v)``: values ``(S, V, K)`` and a log-scale for every state ``(S, V)``, not for every data row."""

    @abstractmethod
    def log_table(self, theta: Tensors) -> SignedLog:
        """Signed logarithms of ``f_k(v)``, ``(S, V, K)``."""

    @abstractmethod
    def table(self, theta: Tensors) -> Tensor:
        """``f_k(v)`` itself, ``(S, V, K)``."""

    def values(self, theta: Tensors, x: Tensor) -> Scaled:
        """Look up the states ``x`` ``(S, B)``."""
        values, log_scale = self.scaled_table(theta)
        return Scaled(_look_up(values, x), _look_up(log_scale.unsqueeze(-1), x).squeeze(-1))

    def log_values(self, theta: Tensors, x: Tensor) -> SignedLog:
        """Look up log-magnitude and sign."""
        return SignedLog(*(_look_up(part, x) for part in self.log_table(theta)))

    def gram(self, theta: Tensors) -> Gram:
        """``sum_v f_i(v) f_j(v)``."""
        table = self.table(theta)
        size = scaled.nonzero(table.detach().abs().amax(1))  # (S, K)
        table = table / size.unsqueeze(1)
        return gram.from_matrix((table.mT @ table).unsqueeze(1), size.double().log().unsqueeze(1))

    def integral(self, theta: Tensors) -> Scaled:
        """``sum_v f_k(v)``."""
        return scaled.rescale_support(self.table(theta).sum(1, keepdim=True))


@dataclass(frozen=True)
class Categorical(_Table):
    """Free tables ``f_k(v) = table[k, v]`` over the states ``v = 0..categories-1``; not normalised.

    Args:
        categories: number of states V.

    Raises:
        ValueError: if ``categories`` is less than 1.
    """

    categories: int
    linear = ("table",)

    def __post_init__(self) -> None:
        if self.categories < 1:
            raise ValueError(f"categories must be at least 1, got {self.categories}")

    @property
    def states(self) -> int:  # type: ignore[override]
        """Number of states."""
        return self.categories

    def parameters(self, slots: int, units: int, init: Initializer) -> dict[str, Tensor]:
        """``table`` of shape ``(S, K, V)``."""
        return {"table": init(slots, units, self.categories)}

    def table(self, theta: Tensors) -> Tensor:
        """The parameter, states before units."""
        return theta["table"].mT

    def scaled_table(self, theta: Tensors) -> Scaled:
        """The parameter, rescaled."""
        return scaled.rescale_support(self.table(theta))

    def log_table(self, theta: Tensors) -> SignedLog:
        """Signed logarithms of the parameter."""
        return signed_log.from_linear(self.table(theta))


@dataclass(frozen=True)
class Binomial(_Table):
    """Binomial probabilities ``f_k(v) = C(n, v) p_k^v (1 - p_k)^(n - v)`` with ``p = sigmoid(logit)``.

    Args:
        trials: number of trials n; the states are ``0..n``.

    Raises:
        ValueError: if ``trials`` is less than 1.
    """

    trials: int

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials must be at least 1, got {self.trials}")

    @property
    def states(self) -> int:  # type: ignore[override]
        """Number of states, one more than trials."""
        return self.trials + 1

    def parameters(self, slots: int, units: int, init: Initializer) -> dict[str, Tensor]:
        """``logit`` of shape ``(S, K)``, with the probabilities uniform on (0, 1)."""
        return {"logit": torch.rand(slots, units).clamp(1e-6, 1 - 1e-6).logit()}

    def table(self, theta: Tensors) -> Tensor:
        """Probabilities of every state."""
        return self._log_probs(theta).exp()

    def scaled_table(self, theta: Tensors) -> Scaled:
        """Probabilities by their logarithms: those of far states are below the smallest number."""
        return scaled.from_log(self._log_probs(theta))

    def log_table(self, theta: Tensors) -> SignedLog:
        """Log-probabilities."""
        return signed_log.from_log(self._log_probs({name: value.double() for name, value in theta.items()}))

    def _log_probs(self, theta: Tensors) -> Tensor:
        logit = theta["logit"].unsqueeze(1)  # (S, 1, K)
        successes = torch.arange(self.states, dtype=logit.dtype, device=logit.device).unsqueeze(-1)
        total = torch.tensor(float(self.trials), dtype=logit.dtype, device=logit.device)
        ways = torch.lgamma(total + 1) - torch.lgamma(successes + 1) - torch.lgamma(total - successes + 1)
        return ways + successes * F.logsigmoid(logit) + (total - successes) * F.logsigmoid(-logit)


def _look_up(table: Tensor, x: Tensor) -> Tensor:
    """Row ``x[s, b]`` of ``table[s]``, as ``(S, B, ...)``: one embedding, whose backward pass adds whole rows."""
    slots, states, width = table.shape
    start = torch.arange(slots, device=x.device).unsqueeze(-1) * states
    return F.embedding(x.long() + start, table.reshape(slots * states, width))
