"""LabelledImages: which rows are kept, how classes are numbered, and what becomes of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from logprob.batch import Batch
from logprob.data import (
    CIFAR10,
    CIFAR100,
    Dataset,
    DataSource,
    Digits,
    IdxImages,
    ImageCompletion,
    LabelledImages,
    ScaledImages,
    Wine,
)

DIGITS = Digits().load()


@dataclass(frozen=True)
class White(DataSource):
    """Many white pixels, whose noise sometimes rounds to the next level."""

    def load(self, root=None):
        batch = Batch(torch.full((20, 50_000), 255, dtype=torch.uint8), target=torch.arange(20) % 2)
        return Dataset("white", batch, batch, batch, categories=256, image_shape=(1, 200, 250))


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_classes_are_kept_and_numbered_in_the_order_given(split):
    data = LabelledImages(Digits(), keep=[7, 2]).load()
    source, kept = getattr(DIGITS, split), getattr(data, split)
    rows = (source.target == 7) | (source.target == 2)
    assert torch.equal((kept.x * 17).long(), source.x[rows])  # the order of the rows is the source's
    assert torch.equal(kept.context, (source.target[rows] == 2).long())
    assert torch.equal(kept.target, kept.context)
    assert (kept.x.dtype, kept.context.dtype, data.image_shape, data.categories) == (
        torch.float32,
        torch.int64,
        (1, 8, 8),
        None,
    )
    assert (data.provenance["labels"], data.provenance["conditions"]) == ([7, 2], 2)
    assert data.provenance["split"]["counts"][split] == rows.sum()


def test_ranges_and_all_labels():
    named, listed = (LabelledImages(Digits(), keep=keep).load() for keep in ("0-7", list(range(8))))
    assert torch.equal(named.train.x, listed.train.x)
    assert named.content_sha256 == listed.content_sha256 != DIGITS.content_sha256
    everything = LabelledImages(Digits()).load()
    assert torch.equal(everything.train.context, DIGITS.train.target)
    assert everything.content_sha256 == DIGITS.content_sha256


def test_model_without_conditions_gets_no_context():
    data = LabelledImages(Digits(), keep=[3, 4], context=False).load()
    assert data.train.context is None
    assert data.train.target.unique().tolist() == [0, 1]


def test_noise_fills_each_level_and_is_the_seed_s():
    one, again, other = (LabelledImages(Digits(), seed=seed).load() for seed in (1, 1, 2))
    assert torch.equal(one.test.x, again.test.x)
    assert not torch.equal(one.test.x, other.test.x)
    noise = one.train.x.double() * 17 - DIGITS.train.x
    assert noise.min() > -1e-5  # rounding to float32
    assert noise.max() < 1 + 1e-5
    # 80,576 numbers: standard errors of the mean and of the variance are .0010 and .00026
    assert abs(noise.mean().item() - 1 / 2) < 0.006
    assert abs(noise.var().item() - 1 / 12) < 0.0016
    assert not torch.equal(noise[:100], one.valid.x[:100].double() * 17 - DIGITS.valid.x[:100])


def test_pixels_stay_below_one():
    data = LabelledImages(White()).load()
    assert data.train.x.max() < 1
    assert (data.train.x >= 255 / 256).all()


def test_bytes_become_what_training_of_published_models_saw():
    source = CIFAR10().stand_in(4)
    x = LabelledImages(CIFAR10(), seed=5).stand_in(4).train.x
    noise = torch.from_numpy(np.random.default_rng((5, 0)).random((4, 3072), dtype=np.float32))
    torch.testing.assert_close(x, source.train.x / 255 * 255 / 256 + noise / 256, rtol=0, atol=1e-6)


def test_pixels_without_noise():
    middle = LabelledImages(Digits(), dequantise="middle").load().test.x
    torch.testing.assert_close(middle, (DIGITS.test.x + 0.5) / 17, rtol=0, atol=1e-7)
    plain = LabelledImages(Digits(), dequantise="none").load().test.x
    assert torch.equal(plain, DIGITS.test.x.float() / 16)
    assert torch.equal(LabelledImages(ScaledImages(Digits()), dequantise="none").load().test.x, plain)


@pytest.mark.parametrize("subset", ["first", "stratified"])
def test_fewer_training_rows_change_no_other_row(subset):
    everything = LabelledImages(Digits(), keep=[8, 9]).load()
    few = LabelledImages(Digits(), keep=[8, 9], rows=30, subset=subset).load()
    assert torch.equal(few.test.x, everything.test.x)
    assert torch.equal(few.valid.x, everything.valid.x)
    same = (few.train.x[:, None] == everything.train.x).all(-1)
    assert same.sum(1).tolist() == [1] * 30  # noise and all
    place = same.long().argmax(1)
    assert (place.diff() > 0).all()
    if subset == "first":
        assert place.tolist() == list(range(30))
    assert few.provenance["split"]["counts"]["train"] == 30


def test_stratified_rows_are_in_proportion():
    counts = LabelledImages(Digits()).load().train.context.bincount()
    for rows in (10, 11, 100, 1259):
        data = LabelledImages(Digits(), rows=rows, subset="stratified", seed=3).load()
        share = counts * rows / counts.sum()
        found = data.train.context.bincount(minlength=10)
        assert len(data.train.x) == rows
        assert (found >= 1).all()
        assert (found - share).abs().max() < 1
    other = LabelledImages(Digits(), rows=100, subset="stratified", seed=4).load()
    again = LabelledImages(Digits(), rows=100, subset="stratified", seed=4).load()
    assert other.content_sha256 == again.content_sha256


def test_rare_class_keeps_a_row():
    """1 row of the first class, 999 of the second."""

    @dataclass(frozen=True)
    class Uneven(DataSource):
        def load(self, root=None):
            target = (torch.arange(1000) > 0).long()
            batch = Batch(torch.zeros(1000, 4, dtype=torch.int64), target=target)
            return Dataset("uneven", batch, batch, batch, categories=2, image_shape=(1, 2, 2))

    data = LabelledImages(Uneven(), rows=2, subset="stratified").load()
    assert data.train.context.tolist() == [0, 1]


@pytest.mark.parametrize("source", [IdxImages("fashion_mnist"), CIFAR10(), CIFAR100()])
def test_stand_in_needs_no_file_and_has_every_class(source):
    keep = "0-84" if isinstance(source, CIFAR100) else "0-7"
    classes = 85 if isinstance(source, CIFAR100) else 8
    data = LabelledImages(source, keep=keep, rows=6000, subset="stratified").stand_in(10)
    assert len(data.train.x) == max(10, classes)
    for part in (data.train, data.valid, data.test):
        assert part.context.unique().tolist() == list(range(classes))
    assert "numbers mean nothing" in data.provenance["stand_in"]
    assert LabelledImages(source, rows=4).stand_in(20).train.x.shape[0] == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LabelledImages(Digits(), keep=[]), "at least one"),
        (lambda: LabelledImages(Digits(), keep=[1, 1]), "different"),
        (lambda: LabelledImages(Digits(), keep="0..7"), "such as '0-7', got '0..7'"),
        (lambda: LabelledImages(Digits(), keep="7-0"), "at least one"),
        (lambda: LabelledImages(Digits(), dequantise="logit"), "logit"),
        (lambda: LabelledImages(Digits(), subset="last"), "last"),
        (lambda: LabelledImages(Digits(), rows=0), "rows >= 1"),
        (lambda: LabelledImages(Digits(), seed=-1), "seed >= 0"),
        (lambda: LabelledImages(Digits()).stand_in(0), "rows"),
        (lambda: LabelledImages(Digits(), keep=[3, 10, 11]).load(), "no train row has the labels 10, 11"),
        (lambda: LabelledImages(Digits(), keep=[3], rows=1000).load(), "rows=1000 are asked for, but"),
        (lambda: LabelledImages(Digits(), rows=9, subset="stratified").load(), "a row of each, got rows=9"),
        (lambda: LabelledImages(Wine()).load(), "expected a source of images"),
        (lambda: LabelledImages(ImageCompletion(Digits())).load(), "no context"),
        (lambda: LabelledImages(ScaledImages(Digits())).load(), "codes to dequantise"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
