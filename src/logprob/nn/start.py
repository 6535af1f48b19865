"""The weights that a network starts from."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

Start = Literal["torch", "glorot", "glorot-relu", "he"]
STARTS = ("torch", "glorot", "glorot-relu", "he")
# A normal variable cut off at two standard deviations has this one left.
CUT_DEVIATION = 0.87962566103423978


def start_from(network: nn.Module, init: Start) -> None:
    """Set the weights of all linear layers and convolutions of a network.

    Args:
        network: whose layers are set.
        init: "torch" leaves everything as torch makes it; "glorot" draws uniform weights of variance
            ``2 / (inputs + outputs)``, which is what Keras does by default; "glorot-relu" twice that variance, which
            makes up for the half that a ReLU cuts off; "he" draws the weights of convolutions from a normal law of
            variance ``2 / inputs``, cut off at two standard deviations, and all others as "glorot". All of them set
            biases to zero.

    Raises:
        ValueError: for an unknown name.

    References:
        Glorot and Bengio, AISTATS 2010; He, Zhang, Ren and Sun, ICCV 2015.

    Example:
        >>> layer = nn.Linear(300, 300)
        >>> start_from(layer, "glorot")
        >>> layer.bias.any().item(), round(layer.weight.abs().max().item(), 2)
        (False, 0.1)
    """
    if init not in STARTS:
        raise ValueError(f"init must be one of {', '.join(STARTS)}, got {init!r}")
    if init == "torch":
        return
    gain = math.sqrt(2) if init == "glorot-relu" else 1.0
    for layer in network.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)):
            if init == "he" and isinstance(layer, nn.Conv2d):
                _he(layer)
            else:
                nn.init.xavier_uniform_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _he(layer: nn.Conv2d) -> None:
    std = math.sqrt(2 / layer.weight[0].numel()) / CUT_DEVIATION
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
