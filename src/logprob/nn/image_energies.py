"""Networks from flattened images to features: layers of linear maps, and convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from logprob.nn.mlp import check_widths
from logprob.nn.stacked import StackedLinear


class FullMLP(nn.Module):
    """Linear layers of widths 8n, 6n, 4n, 4n and m, leaky ReLU between them, dropout after the second.

    Args:
        variables: number of pixels, channels included.
        outputs: m; as many as ``variables`` if omitted.
        width: n.
        dropout: probability, in [0, 1).
        slope: of the leaky ReLU below zero.
        copies: number C of networks side by side, or None, see :class:`~logprob.nn.StackedMLP`.

    Shapes: rows ``(..., variables)`` to ``(..., outputs)``, with copies ``(N, variables)`` to ``(C, N, outputs)``.

    Raises:
        ValueError: for a width below one.

    References:
        Khemakhem et al., "ICE-BeeM", NeurIPS 2020, appendix.

    Example:
        >>> import torch
        >>> FullMLP(784, 90)(torch.rand(5, 784)).shape
        torch.Size([5, 90])
    """

    def __init__(
        self,
        variables: int,
        outputs: int | None = None,
        width: int = 64,
        dropout: float = 0.1,
        slope: float = 0.1,
        copies: int | None = None,
    ) -> None:
        super().__init__()
        self.variables, self.outputs = variables, variables if outputs is None else outputs
        check_widths([variables, self.outputs, width])
        self.copies = copies
        self.layers = nn.Sequential(
            *(StackedLinear(variables, 8 * width, copies), nn.LeakyReLU(slope)),
            *(StackedLinear(8 * width, 6 * width, copies), nn.LeakyReLU(slope), nn.Dropout(dropout)),
            *(StackedLinear(6 * width, 4 * width, copies), nn.LeakyReLU(slope)),
            *(StackedLinear(4 * width, 4 * width, copies), nn.LeakyReLU(slope)),
            StackedLinear(4 * width, self.outputs, copies),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features of rows."""
        features: Tensor = self.layers(x)
        return features
