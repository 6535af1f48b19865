"""Augmentations: every outcome is one of the listed shifts and flips, equally often as promised."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from logprob.batch import Batch
from logprob.data import Augmentation, FlipAndTranslate, RandomCrop

SHAPE = (2, 5, 4)
CHANGES = {
    "reflect": RandomCrop(SHAPE, padding=2),
    "edge": RandomCrop(SHAPE, padding=3, mode="edge"),
    "flip": FlipAndTranslate(SHAPE, translate=0.2),
}


def images(rows, dtype=torch.float32):
    return torch.arange(rows * 40).reshape(rows, 40).remainder(251).to(dtype)


def outcomes(image, padding, mode):
    """Every crop of one padded image, by numpy's own padding; and the mirror image of each."""
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), mode=mode)
    _, h, w = image.shape
    crops = [padded[:, i : i + h, j : j + w] for i in range(2 * padding + 1) for j in range(2 * padding + 1)]
    return np.stack(crops).reshape(len(crops), -1), np.stack([c[:, :, ::-1] for c in crops]).reshape(len(crops), -1)


def changed(image, change, draws):
    x = torch.from_numpy(image).reshape(1, -1).expand(draws, -1)
    return change(Batch(x)).x.numpy()


@pytest.mark.parametrize(("padding", "mode"), [(1, "reflect"), (2, "reflect"), (3, "edge"), (0, "reflect")])
def test_crops_are_all_crops_of_the_padded_image_equally_often(padding, mode):
    image = np.random.default_rng(0).random(SHAPE)
    expected, _ = outcomes(image, padding, mode)
    got = changed(image, RandomCrop(SHAPE, padding, mode), 4000)
    counts = (got[:, None] == expected[None]).all(-1).sum(0)
    assert counts.sum() == 4000
    mean = 4000 / len(expected)
    assert np.all(np.abs(counts - mean) <= 5 * np.sqrt(mean))


def test_flip_and_translate_shifts_as_promised():
    """On 32 pixels the shifts -1, 0, 1 have probabilities .94, 1 and .94 in 2.88; half of the images are mirrored."""
    image = np.random.default_rng(0).random((1, 32, 32))
    sides = outcomes(image, 1, "edge")
    got = changed(image, FlipAndTranslate((1, 32, 32)), 6000)
    counts = np.array([[(got == row).all(1).sum() for row in side] for side in sides])
    assert counts.sum() == 6000
    p = np.array([0.94, 1, 0.94]) / 2.88
    expected = 6000 * 0.5 * np.stack([np.outer(p, p).ravel()] * 2)
    assert np.all(np.abs(counts - expected) <= 5 * np.sqrt(expected))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64])
def test_type_context_and_target_are_kept(name, dtype):
    change: Augmentation = pickle.loads(pickle.dumps(CHANGES[name]))
    batch = Batch(images(6, dtype), torch.ones(6, 1), torch.arange(6))
    before = batch.x.clone()
    new = change(batch)
    assert (new.x.dtype, new.x.shape) == (dtype, batch.x.shape)
    assert new.context is batch.context
    assert new.target is batch.target
    assert torch.equal(batch.x, before)
    assert change(Batch(images(0, dtype))).x.shape == (0, 40)


@pytest.mark.parametrize("name", CHANGES)
def test_rows_are_changed_apart_and_the_seed_repeats_them(name):
    x = images(1).expand(50, -1)
    torch.manual_seed(5)
    one = CHANGES[name](Batch(x)).x
    assert len(one.unique(dim=0)) > 5
    assert not torch.equal(CHANGES[name](Batch(x)).x, one)
    torch.manual_seed(5)
    assert torch.equal(CHANGES[name](Batch(x)).x, one)


def test_channels_move_together():
    x = images(20, torch.int64)
    x = torch.cat([x[:, :20], x[:, :20] + 1000], dim=1)
    for change in CHANGES.values():
        new = change(Batch(x)).x
        assert torch.equal(new[:, 20:], new[:, :20] + 1000)


def test_shape_may_be_a_list_as_recipes_fill_it():
    assert RandomCrop([1, 4, 4])(Batch(torch.zeros(2, 16))).x.shape == (2, 16)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop((28, 28)), "channels, height, width"),
        (lambda: RandomCrop((1, 4, 4), padding=4), "padding"),
        (lambda: RandomCrop((1, 4, 4), padding=-1, mode="edge"), "padding"),
        (lambda: RandomCrop((1, 4, 4), mode="zero"), "'zero'"),
        (lambda: FlipAndTranslate((1, 4, 4), translate=1.0), "translate"),
        (lambda: FlipAndTranslate((1, 4, 4), padding=-1), "padding"),
        (lambda: RandomCrop((1, 4, 4))(Batch(torch.zeros(2, 15))), r"\(N, 16\).*\(2, 15\)"),
        (lambda: FlipAndTranslate((1, 4, 4))(Batch(torch.zeros(2, 1, 4, 4))), r"\(N, 16\)"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
