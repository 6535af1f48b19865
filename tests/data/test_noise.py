"""Noise for studies of time, and the digits of a fixed permutation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from logprob.data import GaussianNoise, PermutedDigits


def parts(data):
    return data.train, data.valid, data.test


@pytest.mark.parametrize("image", [False, True])
def test_noise_is_standard_normal(image):
    data = GaussianNoise(30, rows=2000, valid=5, test=7, image=image).load()
    assert data.image_shape == ((1, 30, 1) if image else None)
    assert [len(part.x) for part in parts(data)] == [2000, 5, 7]
    assert data.train.x.dtype == torch.float32
    assert data.train.x.mean().abs() < 5 / 60_000**0.5
    assert data.train.x.var().item() == pytest.approx(1, abs=5 * (2 / 60_000) ** 0.5)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(data.test.x.double()).sum(-1)
    torch.testing.assert_close(data.true_log_prob(data.test.x), expected)


def test_noise_has_the_published_size_and_honours_its_seed():
    assert [len(part.x) for part in parts(GaussianNoise(2).load())] == [49_900, 100, 100]
    one, again, other = (GaussianNoise(2, rows=9, seed=seed).load() for seed in (1, 1, 2))
    assert one.content_sha256 == again.content_sha256 != other.content_sha256
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        GaussianNoise(2, rows=0)


def test_permuted_digits_are_those_of_torch_randperm():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0)).numpy()
    data = PermutedDigits().load()
    assert data.train.x.dtype == torch.int64
    np.testing.assert_array_equal(data.train.x, images[order[:1400]])
    np.testing.assert_array_equal(data.test.x, images[order[1400:]])
    np.testing.assert_array_equal(data.test.target, labels[order[1400:]])
    assert torch.equal(data.valid.x, data.train.x[:397])
    assert torch.equal(data.valid.target, data.train.target[:397])
    assert "repeats the first training rows" in data.provenance["split"]["valid"]
    assert data.provenance["split"]["counts"] == {"train": 1400, "valid": 397, "test": 397}
