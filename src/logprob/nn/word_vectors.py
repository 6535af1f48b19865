"""Vectors of words: what a model of texts reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from logprob.nn.mlp import check_widths


class WordVectors(nn.Module):
    """Vectors of words, not trained; word 0 is padding and has the zero vector.

    Args:
        words: size of the vocabulary.
        dimensions: of a vector.
        path: an ``.npy`` file of shape ``(words, dimensions)``, such as
            :func:`~logprob.data.word_vectors.read_word_vectors` helps to make; independent N(0, 1) numbers if omitted.
        seed: of the random vectors, which are the same whatever else has been drawn.

    Raises:
        ValueError: for a number below one, or a file of another shape.

    Example:
        >>> WordVectors(100, 8)(torch.tensor([[0, 5, 7]])).shape
        torch.Size([1, 3, 8])
    """

    vectors: Tensor

    def __init__(self, words: int, dimensions: int = 50, path: str | Path | None = None, seed: int = 0) -> None:
        super().__init__()
        check_widths([words, dimensions])
        self.dimensions = dimensions
        vectors = _random(words, dimensions, seed) if path is None else _read(path, (words, dimensions))
        vectors[0] = 0
        self.register_buffer("vectors", vectors)

    def forward(self, words: Tensor) -> Tensor:
        """Vectors ``(..., T, dimensions)`` of words ``(..., T)``."""
        return self.vectors[words]


class LearnedWordVectors(nn.Module):
    """Vectors of words that are trained with the model, from independent N(0, 1) on; word 0 is padding and stays zero.

    Args:
        words: size of the vocabulary.
        dimensions: of a vector.

    Raises:
        ValueError: for a number below one.

    Example:
        >>> LearnedWordVectors(100, 8)(torch.tensor([[0, 5, 7]]))[0, 0].abs().sum()
        tensor(0., grad_fn=<SumBackward0>)
    """

    def __init__(self, words: int, dimensions: int = 50) -> None:
        super().__init__()
        check_widths([words, dimensions])
        self.dimensions = dimensions
        self.embedding = nn.Embedding(words, dimensions, padding_idx=0)

    def forward(self, words: Tensor) -> Tensor:
        """Vectors ``(..., T, dimensions)`` of words ``(..., T)``."""
        vectors: Tensor = self.embedding(words)
        return vectors


def _random(words: int, dimensions: int, seed: int) -> Tensor:
    return torch.randn(words, dimensions, generator=torch.Generator().manual_seed(seed))


def _read(path: str | Path, shape: tuple[int, int]) -> Tensor:
    table = np.load(path, allow_pickle=False)
    if table.shape != shape:
        raise ValueError(f"expected word vectors of shape {shape} in {path}, got {table.shape}")
    return torch.tensor(table, dtype=torch.get_default_dtype())
