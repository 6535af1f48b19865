"""The normalizing flow: layers and a base distribution, as a module that makes distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from logprob.distributions import DistributionModule, UnnormalizedDistribution
from logprob.flows.base import DEFAULT_OPTIONS, Energy, FlowLayer, InverseMethod, SurrogateOptions, check_method
from logprob.flows.bases import StandardNormal
from logprob.flows.sequential import Sequential

INITIAL_ROWS = 1024  # enough for means and deviations of every channel


class SurrogateLogProb(NamedTuple):
    """What a flow is trained by.

    Args:
        log_prob: shape ``(B,)``. Not normalised: only its gradient means anything, and no metric takes it.
        energies: reconstruction energies of the self-normalizing layers, in their order.
    """

    log_prob: Tensor
    energies: tuple[Energy, ...]


class HasSurrogate(Protocol):
    """A model that can be trained by a surrogate: a flow, or one with noise for discrete data."""

    def surrogate_log_prob(self, x: Tensor, context: Tensor | None, options: SurrogateOptions) -> SurrogateLogProb:
        """Unnormalised log-density of rows, and the energies of the self-normalizing layers."""
        ...

    def synchronize(self) -> None:
        """Make the learned inverses exact."""
        ...


class Flow(DistributionModule):
    """A normalizing flow, ``log p(x) = log p_base(f(x)) + log|det df/dx|``.

    Args:
        layers: of ``f``, in the order in which data pass them.
        shape: event shape of the data, or their number of dimensions.
        base: distribution of ``f(x)``; by default the standard normal.
        preprocessing: fixed layers in front, counted in the density; kept apart so that reconstructions and
            samples can be looked at on either side of them.

    Raises:
        ValueError: if a layer does not take the shape that reaches it, or the base has another one.
        TypeError: if ``base`` is a distribution; a module that makes one is wanted.

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
        _check_base(self.base, self.latent_shape)
        # Not a submodule: it holds this flow, and parameters must have one name only.
        self.__dict__["_stateless"] = _Stateless(self)

    def forward(self, context: Tensor | None = None) -> FlowDistribution:
        """The exact distribution of the present parameters; of batch shape ``(B,)`` for a context ``(B, C)``."""
        return FlowDistribution(self, context)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact latents ``(B, *latent_shape)`` and log-determinants ``(B,)`` of rows ``(B, *shape)``."""
        self._check(x)
        x, ladj = self.preprocessing(x, context)
        z, inner = self.layers(x, context)
        return z, ladj + inner

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The ``x`` of latents ``z``: exact, by the learned inverses, or by those refined until they agree."""
        check_method(method)
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
        self._check(x)
        x, ladj = self.preprocessing(x, context)
        z, inner, energies = self.layers.surrogate(x, context, options)
        return SurrogateLogProb(self.base(context).log_prob(z) + ladj + inner, energies)

    @torch.no_grad()
    def sample(self, sample_shape: Any = (), context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """Samples ``sample_shape + batch + shape``, by the inverse that ``method`` names.

        ``flow(context).sample(sample_shape)`` is the same with the exact inverse.
        """
        leading = torch.Size((sample_shape,) if isinstance(sample_shape, int) else sample_shape)
        leading += torch.Size() if context is None else context.shape[:-1]
        return self.draw(math.prod(leading), _contexts(context, leading), method).reshape(*leading, *self.shape)

    def draw(self, rows: int, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """``rows`` samples ``(rows, *shape)``, one for each row of the context if there is one; differentiable."""
        base = self.base(context)
        z = base.rsample(torch.Size() if base.batch_shape else torch.Size((rows,)))
        return self.inverse(z, context, method)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set what depends on data (activation normalisation) from the first 1,024 of rows ``(N, *shape)``."""
        context = None if context is None else context[:INITIAL_ROWS]
        self.layers.initialize(self.preprocessing.initialize(x[:INITIAL_ROWS], context), context)

    def synchronize(self) -> None:
        """Make every learned inverse exact, or the best there is."""
        self.layers.synchronize()

    def _check(self, x: Tensor) -> None:
        if not x.is_floating_point():
            raise ValueError(f"a flow models real numbers, got {x.dtype}; wrap it as Dequantized(flow, categories)")
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"expected rows of shape (B, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}")


class FlowDistribution(UnnormalizedDistribution):
    """The distribution of a flow's parameters as they are when it is made.

    Buffers are copied too, but for a flow in training mode, where some move on with the calls (the power iterations
    of convolution exponentials): there the distribution is meant for the step at hand.

    Args:
        flow: the flow.
        context: rows ``(B, C)`` or one row ``(C,)`` that every call is given, or None.
    """

    has_rsample = True

    def __init__(self, flow: Flow, context: Tensor | None = None) -> None:
        batch = torch.Size() if context is None else context.shape[:-1]
        super().__init__(batch, torch.Size(flow.shape), validate_args=False)
        self._flow, self._context = flow, context
        self._state = snapshot(flow, "flow.")

    @property
    def support(self) -> Any:
        """Real arrays of the event shape."""
        return constraints.independent(constraints.real, len(self.event_shape))

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
        rows = value.expand(*leading, *self.event_shape).reshape(math.prod(leading), *self.event_shape)
        log_prob: Tensor = self._call("log_prob", rows, _contexts(self._context, leading))
        return log_prob.reshape(leading)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples by the exact inverse, differentiable in the parameters: ``sample_shape + batch + event``."""
        leading = torch.Size(sample_shape) + self.batch_shape
        rows: Tensor = self._call("rsample", math.prod(leading), _contexts(self._context, leading))
        return rows.reshape(*leading, *self.event_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDistribution:
        """The same distribution with a larger batch shape."""
        new = self._get_checked_instance(FlowDistribution, _instance)
        context = self._context
        new._flow, new._state = self._flow, self._state
        new._context = None if context is None else context.expand(*batch_shape, context.shape[-1])
        UnnormalizedDistribution.__init__(new, torch.Size(batch_shape), self.event_shape, validate_args=False)
        return new

    def _call(self, method: str, *arguments: Any) -> Any:
        return torch.func.functional_call(
            self._flow.__dict__["_stateless"], self._state, (method, *arguments), tie_weights=False
        )


def snapshot(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Clones of a module's parameters, and of its buffers but in training mode, for ``functional_call``.

    Optimizers change parameters in place: a clone keeps this state, and gradients reach the module through it.
    ``functional_call(..., tie_weights=False)`` wants each module once, by one of its names.
    """
    clones: dict[int, Tensor] = {}  # a tensor that two modules share stays shared
    state: dict[str, Tensor] = {}
    for path, part in module.named_modules(prefix=prefix.rstrip(".")):
        tensors = itertools.chain(part._parameters.items(), () if part.training else part._buffers.items())
        for name, tensor in tensors:
            if tensor is not None:
                state[f"{path}.{name}".lstrip(".")] = clones.setdefault(id(tensor), tensor.clone())
    return state


def _check_base(base: DistributionModule, shape: tuple[int, ...]) -> None:
    if not isinstance(base, nn.Module):
        raise TypeError(
            f"base must be a module that makes a distribution, as StandardNormal, got {type(base).__name__}"
        )
    given = getattr(base, "shape", shape)
    if tuple(given) != shape:
        raise ValueError(f"the base has shape {tuple(given)}, the latents {shape}")


def _contexts(context: Tensor | None, leading: torch.Size) -> Tensor | None:
    """A row of context for each of the rows of a flattened batch."""
    if context is None:
        return None
    return context.expand(*leading, context.shape[-1]).reshape(math.prod(leading), context.shape[-1])


class _Stateless(nn.Module):
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
        return self.flow.draw(rows, context)
