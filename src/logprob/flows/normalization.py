"""Activation normalisation: a shift and a scale for each channel, set by the first batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from logprob.flows.base import FlowLayer, InverseMethod
from logprob.flows.tracing import is_traced


class ActNorm(FlowLayer):
    """``z = (x - loc) exp(-log_scale)`` for each channel, with ``log|det dz/dx| = -N sum(log_scale)``.

    ``N`` is the number of positions, 1 for vectors and ``H W`` for images. :meth:`initialize` sets ``loc`` to the
    mean and ``log_scale`` to ``log(std + 1e-8)`` (unbiased) over batch and positions, so that the outputs start
    with mean 0 and variance 1; the first forward pass in training mode does it if nobody has. From then on both
    are ordinary parameters. Where processes train together, rank 0's values are broadcast, so every one of
    them must initialize.

    Args:
        channels: C, the size of the second dimension of inputs ``(B, C)`` or ``(B, C, H, W)``.

    Raises:
        ValueError: if ``channels`` is not positive, for inputs of other shapes, or if there are fewer than two
            values a channel to initialize from.
        RuntimeError: when used before it is initialized, in evaluation mode or to invert.

    References:
        Kingma, Dhariwal, "Glow: generative flow with invertible 1x1 convolutions", NeurIPS 2018, section 3.1.

    Example:
        >>> import torch
        >>> from logprob.flows import ActNorm
        >>> z, ladj = ActNorm(3)(5 + 2 * torch.randn(8, 3, 4, 4))
        >>> round(z.std().item(), 1)
        1.0
    """

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        self.channels = channels
        self.loc = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(False))
        self._ready = False  # the same flag on the host: reading the buffer would wait for the device

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exact ``z`` of the shape of ``x`` and log-determinant of shape ``(B,)``."""
        self._check(x)
        if not self._is_ready():
            self._first(x)
        z = (x - self._wide(self.loc, x)) * self._wide(torch.exp(-self.log_scale), x)
        ladj = -self.log_scale.sum() * math.prod(x.shape[2:])
        return z, ladj.expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The exact ``x``, whatever the method; differentiable."""
        self._check(z)
        if not self._is_ready():
            raise RuntimeError(self._what_is_missing())
        return z * self._wide(torch.exp(self.log_scale), z) + self._wide(self.loc, z)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set location and scale from a batch, whether or not they were set before, and return the output."""
        self._check(x)
        channels_first = x.transpose(0, 1).flatten(1)  # (C, B * positions)
        if channels_first.shape[1] < 2:
            raise ValueError(f"a standard deviation needs two values a channel or more, got shape {tuple(x.shape)}")
        self.loc.copy_(channels_first.mean(1))
        self.log_scale.copy_((channels_first.std(1) + 1e-8).log())
        _broadcast(self.loc, self.log_scale)
        self.initialized.fill_(True)
        self._ready = True
        z: Tensor = self(x, context)[0]
        return z

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, if its first size is the number of channels."""
        if not shape or shape[0] != self.channels:
            raise ValueError(f"expected events of shape ({self.channels}, ...), got {tuple(shape)}")
        return shape

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same shape, if its first size is the number of channels."""
        return self.output_shape(shape)

    def extra_repr(self) -> str:
        """Channels."""
        return f"{self.channels}"

    def _first(self, x: Tensor) -> None:
        if not self.training or self._is_borrowed():
            raise RuntimeError(self._what_is_missing())
        self.initialize(x)

    def _is_ready(self) -> bool:
        """Trust a flag that says yes; where it says no, a state may have come by way of the buffer alone."""
        if self._ready or self.initialized.is_meta or is_traced(self.initialized):
            return self._ready
        ready = bool(self.initialized)
        if not self._is_borrowed():
            self._ready = ready
        return ready

    def _is_borrowed(self) -> bool:
        """Whether functional_call has put copies in the place of the parameters: what is written there is lost."""
        return not isinstance(self.loc, nn.Parameter)

    def _what_is_missing(self) -> str:
        return _NOT_READY + (_BEFORE_FUNCTIONAL_CALL if self._is_borrowed() else _WAYS)

    def _check(self, x: Tensor) -> None:
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise ValueError(f"expected inputs of shape (B, {self.channels}, ...), got {tuple(x.shape)}")

    def _wide(self, parameter: Tensor, x: Tensor) -> Tensor:
        return parameter.reshape(-1, *[1] * (x.dim() - 2))

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._ready = bool(self.initialized)


_NOT_READY = "this ActNorm has no location and scale yet: "
_WAYS = (
    "call initialize(x) of the layer or of its flow with a batch of data, pass a batch through it in training mode, "
    "or load a state in which it was initialized"
)
_BEFORE_FUNCTIONAL_CALL = (
    "call flow.initialize(x) with a batch of data before its distribution is used; functional_call, by which that "
    "works, has copies of the parameters, and what a first batch would set is lost with them"
)


def _broadcast(*tensors: Tensor) -> None:
    """Give every process the values of rank 0, where several train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.broadcast(tensor, src=0)
