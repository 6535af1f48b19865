"""The normalizing flow: layers and a base distribution, as a module that makes distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints

from logprob.distributions import DistributionModule, UnnormalizedDistribution
from logprob.flows.base import DEFAULT_OPTIONS, Energy, FlowLayer, InverseMethod, SurrogateOptions
from logprob.flows.bases import StandardNormal
from logprob.flows.sequential import Sequential


class SurrogateLogProb(NamedTuple):
    """What a flow is trained by.

    Args:
        log_prob: shape ``(B,)``. Not normalised: only its gradient means anything, and no metric takes it.
        energies: reconstruction energies of the self-normalizing layers, in their order.
    """

    log_prob: Tensor
    energies: tuple[Energy, ...]


class Flow(DistributionModule):
    """A normalizing flow, ``log p(x) = log p_base(f(x)) + log|det df/dx|``.

    Args:
        layers: of ``f``, in the order in which data pass them.
        shape: event shape of the data, or their number of dimensions.
        base: distribution of ``f(x)``; by default the standard normal.
        preprocessing: fixed layers in front, counted in the density; kept apart so that reconstructions and
            samples can be looked at on either side of them.

    Raises:
        ValueError: if a layer does not take the shape that reaches it.

    Example:
        >>> import torch
        >>> from logprob.flows import SelfNormalizingLinear, SmoothLeakyReLU
        >>> flow = Flow([SelfNormalizingLinear(4), SmoothLeakyReLU(0.3), SelfNormalizingLinear(4)], 4)
        >>> flow().log_prob(torch.randn(8, 4)).shape, flow().sample((3,)).shape
        (torch.Size([8]), torch.Size([3, 4]))
    """

    def __init__(
        self,
        layers: Sequence[FlowLayer],
        shape: int | Sequence[int],
        base: DistributionModule | None = None,
        preprocessing: Sequence[FlowLayer] = (),
    ) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.preprocessing = Sequential(preprocessing)
        self.layers = Sequential(layers)
        self.latent_shape = self.layers.output_shape(self.preprocessing.output_shape(self.shape))
        self.base = StandardNormal(self.latent_shape) if base is None else base
        # Not a submodule: it holds this flow, and parameters must have one name only.
        self.__dict__["_stateless"] = _Stateless(self)

    def forward(self, context: Tensor | None = None) -> FlowDistribution:
        """The exact distribution of the present parameters; of batch shape ``(B,)`` for a context ``(B, C)``."""
        return FlowDistribution(self, context)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact latents ``(B, *latent_shape)`` and log-determinants ``(B,)`` of rows ``(B, *shape)``."""
        x, ladj = self.preprocessing(x, context)
        z, inner = self.layers(x, context)
        return z, ladj + inner

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The ``x`` of latents ``z``: exact, by the learned inverses, or by those refined until they agree."""
        return self.preprocessing.inverse(self.layers.inverse(z, context, method), context, method)

    def approximate_inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The ``x`` of latents ``z`` by the learned inverses: fast, and as exact as those are."""
        return self.inverse(z, context, "approximate")

    def reconstruct(self, x: Tensor, context: Tensor | None = None, method: InverseMethod = "approximate") -> Tensor:
        """``x`` through the flow and back by the learned inverses; what it misses, samples will miss."""
        return self.inverse(self.encode(x, context)[0], context, method)

    def surrogate_log_prob(
        self, x: Tensor, context: Tensor | None = None, options: SurrogateOptions = DEFAULT_OPTIONS
    ) -> SurrogateLogProb:
        """An unnormalised log-density whose gradient is that of ``log p``, or the chosen estimate of it."""
        x, ladj = self.preprocessing(x, context)
        z, inner, energies = self.layers.surrogate(x, context, options)
        return SurrogateLogProb(self.base(context).log_prob(z) + ladj + inner, energies)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set what depends on data (activation normalisation) from rows ``(N, *shape)``."""
        with torch.no_grad():
            self.layers.initialize(self.preprocessing.initialize(x[:1024], context), context)

    def synchronize(self) -> None:
        """Make every learned inverse exact, or the best there is."""
        self.layers.synchronize()


class FlowDistribution(UnnormalizedDistribution):
    """The distribution of a flow's parameters as they are when it is made.

    Args:
        flow: the flow.
        context: rows ``(B, C)`` or one row ``(C,)`` that every call is given, or None.
    """

    support = constraints.real

    def __init__(self, flow: Flow, context: Tensor | None = None) -> None:
        batch = torch.Size() if context is None else context.shape[:-1]
        super().__init__(batch, torch.Size(flow.shape), validate_args=False)
        self._flow, self._context = flow, context
        # Optimizers change parameters in place; a clone keeps this state, and gradients reach the flow through it.
        # Buffers too, but for training, where some move on with every call (power iterations).
        tensors = [*flow.named_parameters(), *(() if flow.training else flow.named_buffers())]
        self._state = {f"flow.{name}": tensor.clone() for name, tensor in tensors}

    @property
    def log_partition(self) -> Tensor:
        """Zero: the density is normalised."""
        like = next(itertools.chain(self._flow.parameters(), self._flow.buffers()))
        return torch.zeros(self.batch_shape, device=like.device, dtype=like.dtype)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """The exact log-density; it is normalised."""
        return self.log_prob(value)

    def log_prob(self, value: Tensor) -> Tensor:
        """Exact log-density in nats, of shape ``sample_shape + batch_shape``."""
        event = len(self.event_shape)
        if tuple(value.shape[value.dim() - event :]) != tuple(self.event_shape):
            raise ValueError(f"value must end in the event shape {tuple(self.event_shape)}, got {tuple(value.shape)}")
        leading = torch.broadcast_shapes(value.shape[: value.dim() - event], self.batch_shape)
        rows = value.expand(*leading, *self.event_shape).reshape(-1, *self.event_shape)
        log_prob: Tensor = self._call("log_prob", rows, self._contexts(leading))
        return log_prob.reshape(leading)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples by the exact inverse, differentiable in the parameters: ``sample_shape + batch + event``."""
        leading = torch.Size(sample_shape) + self.batch_shape
        rows: Tensor = self._call("rsample", math.prod(leading), self._contexts(leading))
        return rows.reshape(*leading, *self.event_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDistribution:
        """The same distribution with a larger batch shape."""
        new = self._get_checked_instance(FlowDistribution, _instance)
        context = self._context
        new._flow, new._state = self._flow, self._state
        new._context = None if context is None else context.expand(*batch_shape, context.shape[-1])
        UnnormalizedDistribution.__init__(new, torch.Size(batch_shape), self.event_shape, validate_args=False)
        return new

    def _contexts(self, leading: torch.Size) -> Tensor | None:
        if self._context is None:
            return None
        wide = self._context.expand(*leading, self._context.shape[-1])
        return wide.reshape(-1, wide.shape[-1])

    def _call(self, method: str, *arguments: Any) -> Any:
        return torch.func.functional_call(self._flow.__dict__["_stateless"], self._state, (method, *arguments))


class _Stateless(torch.nn.Module):
    """The two functions of a flow, in the form that ``functional_call`` asks for."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, method: str, *arguments: Any) -> Tensor:
        result: Tensor = getattr(self, f"_{method}")(*arguments)
        return result

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        z, ladj = self.flow.encode(x, context)
        return self.flow.base(context).log_prob(z) + ladj

    def _rsample(self, rows: int, context: Tensor | None) -> Tensor:
        base = self.flow.base(context)
        z = base.rsample(torch.Size() if base.batch_shape else torch.Size((rows,)))
        return self.flow.inverse(z, context)
