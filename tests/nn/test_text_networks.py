"""Networks of texts: what padding may change, the weighted sum, fixed vectors, starts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from logprob.nn import MaskedMeanPredictor, TokenSelector, WordVectors, start_from


def test_padding_further_away_than_the_kernels_reach_changes_nothing():
    """Three convolutions of width 3 see three places to each side; zeros set around a text are what padding is."""
    torch.manual_seed(0)
    selector = TokenSelector(4, hidden=6).eval()
    words = torch.randn(2, 10, 4)
    scores = []
    for padding in (3, 8):
        vectors = torch.cat([torch.zeros(2, padding, 4), words], dim=1)
        mask = torch.arange(padding + 10).expand(2, -1) >= padding
        scores.append(selector(vectors, mask)[:, padding:])
    torch.testing.assert_close(*scores)


def test_a_text_without_words_has_finite_scores():
    assert TokenSelector(4, hidden=6)(torch.zeros(1, 5, 4), torch.zeros(1, 5, dtype=torch.bool)).isfinite().all()


def test_every_part_of_the_selector_takes_a_gradient():
    torch.manual_seed(0)
    selector = TokenSelector(4, hidden=16, dropout=0.0)
    selector(torch.randn(3, 7, 4), torch.ones(3, 7, dtype=torch.bool)).square().sum().backward()
    assert all(parameter.grad.ne(0).any() for parameter in selector.parameters())


def test_the_predictor_sees_the_weighted_sum():
    torch.manual_seed(0)
    predictor, vectors = MaskedMeanPredictor(4, hidden=8), torch.randn(2, 5, 4)
    weights = torch.zeros(3, 2, 5)
    weights[:, :, 1:3] = 0.5
    mean = vectors[:, 1:3].mean(1)
    torch.testing.assert_close(predictor(vectors, weights)[2], predictor.network(mean).sigmoid().squeeze(-1))


def test_word_vectors_are_fixed(tmp_path):
    first = WordVectors(20, 4)
    torch.randn(3)
    assert torch.equal(first.vectors, WordVectors(20, 4).vectors)
    assert not torch.equal(first.vectors, WordVectors(20, 4, seed=1).vectors)
    assert not first.vectors[0].any()
    assert not list(first.parameters())
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "vectors.npy", table)
    read = WordVectors(3, 4, tmp_path / "vectors.npy")
    assert torch.equal(read(torch.tensor([[2, 0]]))[0], torch.tensor([[8.0, 9, 10, 11], [0, 0, 0, 0]]))
    with pytest.raises(ValueError, match=r"expected word vectors of shape \(4, 4\)"):
        WordVectors(4, 4, tmp_path / "vectors.npy")


def test_starts_for_relus_have_twice_the_variance():
    layer = torch.nn.Conv1d(300, 100, 3)
    start_from(layer, "glorot-relu")
    bound = math.sqrt(2) * math.sqrt(6 / (3 * 300 + 3 * 100))
    assert layer.weight.abs().max() <= bound < layer.weight.abs().max() * 1.001
    assert not layer.bias.any()


@pytest.mark.parametrize("make", [lambda: TokenSelector(0), lambda: TokenSelector(3, kernel_size=2)])
def test_bad_numbers_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()
