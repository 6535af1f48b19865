"""The two networks of a rationale: which words to look at, and what to say having seen them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from logprob.nn.mlp import MLP, check_widths
from logprob.nn.start import Start, start_from


class TokenSelector(nn.Module):
    """A score for each word of a text, from the words around it and from the whole text.

    A convolution reads the vectors; its maximum over the text goes through a linear layer (the text as a whole), and
    two further convolutions read on (the words around). Both are joined at every word, and two layers that see one
    place at a time make a score of them. ReLU everywhere but at the end.

    Args:
        dimensions: of a word's vector.
        hidden: channels of every layer.
        kernel_size: of the convolutions, odd, so that a text keeps its length.
        dropout: share of the joined channels that is left out in training.
        init: start of the weights, see :func:`start_from`.

    Raises:
        ValueError: for a number below one, an even kernel or an unknown name.

    References:
        Chen, Song, Wainwright and Jordan, "Learning to Explain", ICML 2018.

    Example:
        >>> words = torch.tensor([[0, 0, 3, 5], [1, 2, 2, 4]])
        >>> TokenSelector(dimensions=8, hidden=16)(torch.randn(2, 4, 8), words != 0).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        dimensions: int,
        hidden: int = 100,
        kernel_size: int = 3,
        dropout: float = 0.2,
        init: Start = "glorot-relu",
    ) -> None:
        super().__init__()
        check_widths([dimensions, hidden, kernel_size])
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        same = kernel_size // 2
        self.first = nn.Sequential(nn.Conv1d(dimensions, hidden, kernel_size, padding=same), nn.ReLU())
        self.whole = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU())
        self.around = nn.Sequential(
            *(nn.Conv1d(hidden, hidden, kernel_size, padding=same), nn.ReLU()),
            *(nn.Conv1d(hidden, hidden, kernel_size, padding=same), nn.ReLU()),
        )
        self.score = nn.Sequential(
            nn.Dropout(dropout), nn.Conv1d(2 * hidden, hidden, 1), nn.ReLU(), nn.Conv1d(hidden, 1, 1)
        )
        start_from(self, init)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Scores ``(B, T)`` of vectors ``(B, T, dimensions)``; those where ``mask`` ``(B, T)`` is False say nothing."""
        read = self.first(vectors.transpose(-1, -2))  # (B, hidden, T)
        largest = read.masked_fill(~mask.unsqueeze(-2), 0.0).amax(-1)  # after a ReLU nothing is below 0
        whole = self.whole(largest).unsqueeze(-1).expand(-1, -1, read.shape[-1])
        scores: Tensor = self.score(torch.cat([whole, self.around(read)], dim=-2))
        return scores.squeeze(-2)


class MaskedMeanPredictor(nn.Module):
    """A number between 0 and 1 from the weighted sum of word vectors: linear, ReLU, linear, sigmoid.

    Args:
        dimensions: of a word's vector.
        hidden: width of the hidden layer.
        init: start of the weights, see :func:`start_from`.

    Raises:
        ValueError: for a number below one or an unknown name.

    Example:
        >>> predictor = MaskedMeanPredictor(dimensions=8)
        >>> predictor(torch.randn(2, 4, 8), torch.full((5, 2, 4), 0.25)).shape
        torch.Size([5, 2])
    """

    def __init__(self, dimensions: int, hidden: int = 250, init: Start = "glorot-relu") -> None:
        super().__init__()
        self.network = MLP(dimensions, 1, (hidden,), init=init)

    def forward(self, vectors: Tensor, weights: Tensor) -> Tensor:
        """``(..., B)`` for vectors ``(B, T, dimensions)`` and weights ``(..., B, T)``."""
        mean = torch.einsum("...bt,btd->...bd", weights, vectors)
        prediction: Tensor = self.network(mean).sigmoid()
        return prediction.squeeze(-1)
