"""Multi-scale flows: half of the dimensions leave, the rest go on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from logprob.flows.base import DEFAULT_OPTIONS, FlowLayer, InverseMethod, Surrogate, SurrogateOptions


class Split(FlowLayer):
    """``x -> coupling -> (x1, x2)``, of which only ``x1`` goes through ``inner``; the output is a vector.

    ``z = [flatten(inner(x1)), flatten(x2)]`` with ``x1`` the first half of the channels (or features). Nothing is
    lost, so latents and inverses are exact; under a standard normal base the second part adds
    ``log N(x2; 0, I)``, which is Glow's split prior.

    Args:
        inner: what ``x1`` goes through, e.g. a :class:`Sequential` of the next levels.
        shape: of the input: ``(C, H, W)``, or ``(D,)`` for vectors.
        coupling: layer in front, of the shape of the input, through which ``x1`` conditions ``x2``:
            :class:`AffineCoupling2d` in Glow, :class:`Coupling` for vectors; None for nothing.

    Raises:
        ValueError: if there is nothing to split, ``inner`` or ``coupling`` does not take its shape, or the rows
            have another shape.

    References:
        Dinh, Sohl-Dickstein, Bengio, "Density Estimation Using Real NVP", ICLR 2017;
        Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", NeurIPS 2018.

    Example:
        >>> import torch
        >>> from logprob.flows import AffineCoupling2d, Squeeze
        >>> layer = Split(Squeeze(), (4, 6, 6), AffineCoupling2d(4, width=8))
        >>> layer(torch.randn(2, 4, 6, 6))[0].shape
        torch.Size([2, 144])
    """

    def __init__(self, inner: FlowLayer, shape: int | Sequence[int], coupling: FlowLayer | None = None) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if not self.shape or self.shape[0] < 2:
            raise ValueError(f"a split needs at least two channels or features, got the shape {self.shape}")
        if coupling is not None and coupling.output_shape(self.shape) != self.shape:
            raise ValueError(f"the coupling must keep the shape {self.shape}, got {coupling.output_shape(self.shape)}")
        self.kept = self.shape[0] // 2
        self.inner_shape = inner.output_shape((self.kept, *self.shape[1:]))
        self.event_dim, self.output_dim = len(self.shape), 1
        self.inner = inner
        self.coupling = coupling

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents ``(B, D)``: those of ``inner`` first; the log-determinants of coupling and ``inner``."""
        self.output_shape(tuple(x.shape[1:]))
        ladj = x.new_zeros(len(x))
        if self.coupling is not None:
            x, ladj = self.coupling(x, context)
        x1, x2 = self._halves(x)
        z1, inner_ladj = self.inner(x1, context)
        return self._join(z1, x2), ladj + inner_ladj

    def inverse(self, z: Tensor, context: Tensor | None = None, method: InverseMethod = "exact") -> Tensor:
        """The ``x`` of latents ``(B, D)``."""
        self.input_shape(tuple(z.shape[1:]))
        size = math.prod(self.inner_shape)
        z1, x2 = z[:, :size].reshape(-1, *self.inner_shape), z[:, size:]
        x1 = self.inner.inverse(z1, context, method)
        x = torch.cat([x1, x2.reshape(-1, self.shape[0] - self.kept, *self.shape[1:])], 1)
        return x if self.coupling is None else self.coupling.inverse(x, context, method)

    def surrogate(
        self, x: Tensor, context: Tensor | None = None, options: SurrogateOptions = DEFAULT_OPTIONS
    ) -> Surrogate:
        """The surrogates of coupling and ``inner``, their energies in this order."""
        self.output_shape(tuple(x.shape[1:]))
        first = Surrogate(x, x.new_zeros(len(x)))
        if self.coupling is not None:
            first = self.coupling.surrogate(x, context, options)
        x1, x2 = self._halves(first.z)
        second = self.inner.surrogate(x1, context, options)
        return Surrogate(self._join(second.z, x2), first.ladj + second.ladj, first.energies + second.energies)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Initialize the coupling, then ``inner`` by what reaches it."""
        with torch.no_grad():
            if self.coupling is not None:
                x = self.coupling.initialize(x, context)
            x1, x2 = self._halves(x)
            return self._join(self.inner.initialize(x1, context), x2)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(D,)``."""
        if tuple(shape) != self.shape:
            raise ValueError(f"expected an event of shape {self.shape}, got {tuple(shape)}")
        return (math.prod(self.shape),)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``shape`` of the constructor."""
        if tuple(shape) != (math.prod(self.shape),):
            raise ValueError(f"expected a vector of length {math.prod(self.shape)}, got shape {tuple(shape)}")
        return self.shape

    def extra_repr(self) -> str:
        """The shape of the input."""
        return f"shape={self.shape}"

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, : self.kept], x[:, self.kept :]

    def _join(self, z1: Tensor, x2: Tensor) -> Tensor:
        return torch.cat([z1.flatten(1), x2.flatten(1)], 1)
