"""A U-shaped network of images: a residual encoder with dilation, and blocks that refine its results upwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, elu, instance_norm, interpolate

from logprob.nn.image_energies import shape_of_images
from logprob.nn.mlp import check_widths


class RefineNet(nn.Module):
    """From flattened images to features, by way of an image of the same shape, and with it a linear map.

    Four stages of two residual blocks: n channels; 2n, of which the first halves the sides by a mean; 2n with
    dilation 2; 2n with dilation 4. From the last stage upwards four blocks refine: residual units, the sum with the
    stage before brought to one size, two chained means of 5x5 pixels, residual units. ELU and, before every
    convolution but the first, :class:`InstanceNormPlus`; no layer looks at other rows. 7.51 million parameters for
    1x28x28 images and 90 features.

    Args:
        variables: number of pixels, channels included.
        outputs: m; if omitted there is no linear map, and the image itself is returned, flat.
        image_shape: ``(channels, height, width)`` of a row, sides at least 4.
        width: n.
        centre: whether the network sees ``2 x - 1``, for pixels from 0 to 1.

    Shapes: rows ``(..., variables)`` to ``(..., outputs)``.

    Raises:
        ValueError: if ``image_shape`` does not have ``variables`` pixels or is too small, or for a width below one.

    References:
        Lin, Milan, Shen and Reid, "RefineNet", CVPR 2017; Song and Ermon, "Generative Modeling by Estimating Gradients
        of the Data Distribution", NeurIPS 2019, appendix A.

    Example:
        >>> RefineNet(64, 10, image_shape=(1, 8, 8), width=4)(torch.rand(3, 64)).shape
        torch.Size([3, 10])
    """

    def __init__(
        self,
        variables: int,
        outputs: int | None = None,
        image_shape: Sequence[int] = (1, 28, 28),
        width: int = 64,
        centre: bool = True,
    ) -> None:
        super().__init__()
        self.image_shape = shape_of_images(image_shape, variables, least=4)
        self.variables, self.outputs, self.centre = variables, variables if outputs is None else outputs, centre
        check_widths([self.outputs, width])
        wide, channels = 2 * width, self.image_shape[0]
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_Residual(width, width), _Residual(width, width)),
                nn.Sequential(_Residual(width, wide, halve=True), _Residual(wide, wide)),
                nn.Sequential(_Residual(wide, wide, 2, change=True), _Residual(wide, wide, 2)),
                nn.Sequential(_Residual(wide, wide, 4, change=True), _Residual(wide, wide, 4)),
            ]
        )
        self.refine = nn.ModuleList(
            [
                _Refine([wide], wide),
                _Refine([wide] * 2, wide),
                _Refine([wide] * 2, width),
                _Refine([width] * 2, width, 3),
            ]
        )
        self.last = nn.Sequential(InstanceNormPlus(width), nn.ELU(), nn.Conv2d(width, channels, 3, padding=1))
        self.head = nn.Identity() if outputs is None else nn.Linear(variables, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Features of rows."""
        batch = x.shape[:-1]
        images = x.reshape(batch.numel(), *self.image_shape)
        h, seen = self.first(2 * images - 1 if self.centre else images), []
        for stage in self.stages:
            h = stage(h)
            seen.append(h)
        refined = self.refine[0]([seen[3]])
        for block, stage in zip(list(self.refine)[1:], seen[2::-1], strict=True):
            refined = block([stage, refined])
        features: Tensor = self.head(self.last(refined).flatten(1))
        return features.reshape(*batch, self.outputs)


class InstanceNormPlus(nn.Module):
    """Instance normalisation that keeps what it takes away: the channels' means, standardised over the channels.

    ``gamma_c ((x_c - m_c) / sd_c + alpha_c (m_c - mean(m)) / sd(m)) + beta_c`` with m_c the mean of channel c of a row.

    Args:
        channels: at least 2, as one mean has no deviation.

    Raises:
        ValueError: for fewer.

    Example:
        >>> InstanceNormPlus(4)(torch.rand(3, 4, 8, 8)).shape
        torch.Size([3, 4, 8, 8])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(f"expected at least 2 channels, got {channels}")
        self.alpha = nn.Parameter(1 + 0.02 * torch.randn(channels))
        self.gamma = nn.Parameter(1 + 0.02 * torch.randn(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to the same."""
        means = x.mean((-2, -1))  # (B, channels)
        variance, mean = torch.var_mean(means, -1, keepdim=True)
        shift = self.alpha * (means - mean) / (variance + 1e-5).sqrt()  # the published constant, as in instance_norm
        normal = instance_norm(x) + shift[..., None, None]
        return self.gamma[:, None, None] * normal + self.beta[:, None, None]


class _Residual(nn.Module):
    """``short(x) + f(x)``, f twice normalisation, ELU and a 3x3 convolution; the identity is short where it can be."""

    def __init__(
        self, before: int, after: int, dilation: int = 1, *, halve: bool = False, change: bool = False
    ) -> None:
        super().__init__()
        self.halve = halve
        middle = before if halve or change else after
        self.layers = nn.Sequential(
            *(InstanceNormPlus(before), nn.ELU(), _dilated(before, middle, dilation)),
            *(InstanceNormPlus(middle), nn.ELU(), _dilated(middle, after, dilation)),
        )
        self.short: nn.Module = nn.Identity()
        if halve:
            self.short = nn.Conv2d(before, after, 1)
        elif change:  # where the published encoder would halve, it widens the view instead, of this branch too
            self.short = _dilated(before, after, dilation)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.short(x) + self.layers(x)
        return avg_pool2d(out, 2) if self.halve else out


class _Units(nn.Sequential):
    """Residual units: ``x + f(x)``, f twice normalisation, ELU and a 3x3 convolution without bias."""

    def __init__(self, channels: int, units: int) -> None:
        def layers() -> list[nn.Module]:
            convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            return [InstanceNormPlus(channels), nn.ELU(), convolution]

        super().__init__(*(nn.Sequential(*layers(), *layers()) for _ in range(units)))

    def forward(self, input: Tensor) -> Tensor:
        for unit in self:
            input = input + unit(input)
        return input


class _Refine(nn.Module):
    """One refinement: of one stage, or of a stage and what has been refined below it."""

    def __init__(self, before: list[int], after: int, units: int = 1) -> None:
        super().__init__()
        self.adapt = nn.ModuleList(_Units(channels, 2) for channels in before)
        joined = [] if len(before) == 1 else before
        self.fuse = nn.ModuleList(_normalised(channels, after) for channels in joined)
        self.pool = nn.ModuleList(_pooled(after) for _ in range(2))
        self.units = _Units(after, units)

    def forward(self, parts: list[Tensor]) -> Tensor:
        size = parts[0].shape[-2:]
        adapted = [adapt(part) for adapt, part in zip(self.adapt, parts, strict=True)]
        h = adapted[0]
        if self.fuse:
            first, second = (_resized(fuse(part), size) for fuse, part in zip(self.fuse, adapted, strict=True))
            h = first + second
        h = path = elu(h)
        for pool in self.pool:
            path = pool(path)
            h = h + path
        out: Tensor = self.units(h)
        return out


def _normalised(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(InstanceNormPlus(before), nn.Conv2d(before, after, 3, padding=1))


def _pooled(channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(InstanceNormPlus(channels), nn.AvgPool2d(5, 1, 2), convolution)


def _dilated(before: int, after: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation)


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[-2:] == size else interpolate(x, size=size, mode="bilinear", align_corners=True)
