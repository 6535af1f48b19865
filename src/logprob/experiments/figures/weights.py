"""Weights of self-normalizing layers beside their learned inverses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from logprob.experiments.figures.canvas import bare, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYERS = 6  # rows of the figure; of a deeper model, layers at equal distances
KERNELS = 12  # channels of each side of a grid of kernels


class Pair(NamedTuple):
    """A weight and the learned inverse weight of one layer."""

    name: str
    weight: Tensor
    inverse_weight: Tensor


def inverse_pairs(model: nn.Module) -> list[Pair]:
    """Modules that have both ``weight`` and ``inverse_weight``, as matrices or kernels."""
    pairs = []
    for name, module in model.named_modules():
        weight, inverse = (getattr(module, part, None) for part in ("weight", "inverse_weight"))
        if isinstance(weight, Tensor) and isinstance(inverse, Tensor) and weight.dim() in (2, 4):
            pairs.append(Pair(name, weight.detach().cpu(), inverse.detach().cpu()))
    return pairs


def filter_figure(pairs: list[Pair]) -> Figure:
    """One layer a row: weight, inverse weight and, for matrices and 1x1 kernels, their product.

    Kernels larger than one pixel are laid out output channels down, input channels across. The title says what is
    left out of a large model.
    """
    chosen = [pairs[index] for index in np.linspace(0, len(pairs) - 1, min(LAYERS, len(pairs))).round().astype(int)]
    matrices = any(_is_matrix(pair.weight) for pair in chosen)
    columns = 3 if matrices else 2
    figure, axes = blank(len(chosen), columns, (2.7 * columns + 0.4, 2.5 * len(chosen) + 0.3))
    for row, pair in zip(axes, chosen, strict=True):
        panels = {"weight": pair.weight, "inverse weight": pair.inverse_weight}
        if _is_matrix(pair.weight):
            panels["product"] = pair.inverse_weight.flatten(1) @ pair.weight.flatten(1)
        for axis in row[len(panels) :]:
            axis.set_axis_off()
        for axis, (title, values) in zip(row, panels.items(), strict=False):
            _draw(figure, axis, values, title)
        row[0].set_ylabel(pair.name or "layer", fontsize=8)
    if left_out := _left_out(pairs, chosen):
        figure.suptitle(left_out, fontsize=10)
    return figure


def _left_out(pairs: list[Pair], chosen: list[Pair]) -> str:
    """``"6 of 9 layers, first 12 of 16 channels"``, or as much of that as is so."""
    parts = [f"{len(chosen)} of {len(pairs)} layers"] if len(chosen) < len(pairs) else []
    channels = {max(pair.weight.shape[:2]) for pair in chosen if not _is_matrix(pair.weight)}
    if wide := sorted(number for number in channels if number > KERNELS):
        parts.append(f"first {KERNELS} of {' or '.join(map(str, wide))} channels")
    return ", ".join(parts)


def _draw(figure: Figure, axis: Any, values: Tensor, title: str) -> None:
    from matplotlib.colors import AsinhNorm

    image = values.flatten(1).double().numpy() if _is_matrix(values) else _kernels(values)
    top = float(np.nanquantile(np.abs(image), 0.999)) or 1.0
    # Nearly linear in the small values that training makes, beside the ones of the identity it starts from.
    norm = AsinhNorm(linear_width=top / 20, vmin=-top, vmax=top)
    drawn = axis.imshow(image, cmap="RdBu_r", norm=norm, interpolation="nearest")
    bar = figure.colorbar(drawn, ax=axis, shrink=0.85, ticks=[-top, -top / 10, 0, top / 10, top], format="%.2g")
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=7)
    axis.set_title(title, fontsize=9)
    bare(axis)


def _is_matrix(weight: Tensor) -> bool:
    return weight.dim() == 2 or tuple(weight.shape[2:]) == (1, 1)


def _kernels(weight: Tensor) -> Any:
    """Kernels side by side, with gaps that are drawn white."""
    weight = weight[:KERNELS, :KERNELS].double()
    padded = torch.nn.functional.pad(weight, (0, 1, 0, 1), value=torch.nan)
    outputs, inputs, height, width = padded.shape
    return padded.permute(0, 2, 1, 3).reshape(outputs * height, inputs * width)[:-1, :-1].numpy()
