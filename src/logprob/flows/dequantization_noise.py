"""Noise on the unit cube that makes integers continuous, with its log-density."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from logprob.flows.base import FlowLayer
from logprob.flows.coupling import AffineCoupling2d
from logprob.flows.mixing import Conv1x1
from logprob.flows.reshape import Squeeze, image_shape_of
from logprob.flows.sequential import Sequential


class DequantizationNoise(nn.Module):
    """A law ``q(u | x)`` on ``[0, 1)^D`` to draw from; a subclass implements :meth:`forward`."""

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw noise for rows of integers.

        Args:
            x: the integers in the floating type of the model, ``(N, *event)``.
            generator: source of randomness. With one, the draws depend on neither the type nor the device of
                ``x``, nor on how rows are batched.

        Returns:
            ``u`` of the shape of ``x``, differentiable in the parameters, and ``log q(u | x)``, ``(N,)``.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement forward(x, generator) -> (u, log_q)")


class UniformNoise(DequantizationNoise):
    """Independent uniform variables on [0, 1); ``log q = 0``.

    Example:
        >>> import torch
        >>> u, log_q = UniformNoise()(torch.zeros(2, 3))
        >>> u.shape, log_q
        (torch.Size([2, 3]), tensor([0., 0.]))
    """

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Uniform noise and zeros."""
        u = torch.rand_like(x) if generator is None else _uniform(x, generator).to(x)
        return u, x.new_zeros(len(x))


class VariationalNoise(DequantizationNoise):
    """A learned law of the noise of images: ``u = Phi(v)`` with ``v = f(e; x)``, ``e ~ N(0, I)``.

    ``f`` is a flow of 1x1 convolutions and affine couplings that see the image ``x``, and ``Phi`` the normal
    distribution function. With ``log|det df/de|`` of ``f``, ``log q(u | x) = |v|^2 / 2 - |e|^2 / 2 - log|det df/de|``.
    It starts as exactly uniform noise, so the bound starts no worse than with that.

    Args:
        image_shape: ``(channels, height, width)``, sides even; rows may be such images or flattened ones.
        categories: number of pixel values.
        steps: number of couplings.
        width: of their networks.

    Raises:
        ValueError: if an argument is out of its range.

    References:
        Ho, Chen, Srinivas, Duan, Abbeel, "Flow++: Improving Flow-Based Generative Models with Variational
        Dequantization and Architecture Design", ICML 2019 (with a logistic function in place of ``Phi``).

    Example:
        >>> import torch
        >>> noise = VariationalNoise((1, 4, 4), categories=17, steps=2, width=8)
        >>> u, log_q = noise(torch.randint(17, (5, 16)).float())
        >>> u.shape, log_q.shape
        (torch.Size([5, 16]), torch.Size([5]))
    """

    def __init__(self, image_shape: Sequence[int], categories: int, steps: int = 4, width: int = 32) -> None:
        super().__init__()
        if categories < 2 or steps < 1:
            raise ValueError(f"expected categories >= 2 and steps >= 1, got {categories} and {steps}")
        self.image_shape = image_shape_of(image_shape)
        self.categories = categories
        self.squeeze = Squeeze()
        channels = self.squeeze.output_shape(self.image_shape)[0]
        layers: list[FlowLayer] = []
        for _ in range(steps):
            layers += [Conv1x1(channels), AffineCoupling2d(channels, width, context_channels=channels)]
        self.layers = Sequential(layers)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Noise drawn for each image, and its log-density."""
        e = torch.randn_like(x) if generator is None else _normal(x, generator).to(x)
        images, e = (part.reshape(-1, *self.image_shape) for part in (x * (2 / (self.categories - 1)) - 1, e))
        context, e = self.squeeze(images)[0], self.squeeze(e)[0]
        v, ladj = self.layers(e, context)
        log_q = (v**2 - e**2).flatten(1).sum(1) / 2 - ladj
        return self.squeeze.inverse(torch.special.ndtr(v)).reshape(x.shape), log_q


def _uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    # In float64 a generator gives out its numbers one by one, whatever the number of them asked for at a time.
    return torch.rand(x.shape, generator=generator, device=generator.device, dtype=torch.float64)


def _normal(x: Tensor, generator: torch.Generator) -> Tensor:
    # randn makes its numbers in blocks, which would tie them to the size of a batch.
    return torch.special.ndtri(_uniform(x, generator).clamp_min(2.0**-54))
