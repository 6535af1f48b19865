"""Stand-ins for smoke runs: right in shape and type, from no file where files may be missing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from logprob.data import (
    CIFAR10,
    DEBD,
    BreastCancer,
    CelebA,
    Dataset,
    Digits,
    DownsampledImageNet,
    GaussianNoise,
    IdxImages,
    MissingDataError,
    Omniglot,
    Omniglot28,
    OrderedDigits,
    PermutedDigits,
    Synthetic2D,
    Table,
    content_sha256,
)
from logprob.data.splits import batches

STAND_INS = {
    "mnist": (IdxImages("mnist"), torch.int64, 784, 256, (1, 28, 28)),
    "fashion_mnist": (IdxImages("fashion_mnist"), torch.int64, 784, 256, (1, 28, 28)),
    "cifar10": (CIFAR10(), torch.uint8, 3072, 256, (3, 32, 32)),
    "cifar10_subset": (CIFAR10("cifar10_subset"), torch.uint8, 3072, 256, (3, 32, 32)),
    "imagenet32": (DownsampledImageNet(), torch.uint8, 3072, 256, (3, 32, 32)),
    "imagenet64": (DownsampledImageNet(64), torch.uint8, 12288, 256, (3, 64, 64)),
    "omniglot": (Omniglot(), torch.int64, 784, 226, (1, 28, 28)),
    "omniglot-published": (Omniglot("published"), torch.int64, 784, 65, (1, 28, 28)),
    "omniglot28": (Omniglot28(), torch.float32, 784, None, (1, 28, 28)),
    "celeba64": (CelebA(), torch.uint8, 12288, 256, (3, 64, 64)),
    "celeba32": (CelebA(32), torch.uint8, 3072, 256, (3, 32, 32)),
    "plants": (DEBD("plants"), torch.int64, 69, 2, None),
    "measured": (Table("measured.csv", columns=["a", "b"]), torch.float64, 2, None, None),
}


def parts(data):
    return data.train, data.valid, data.test


@pytest.mark.parametrize("name", STAND_INS)
def test_stand_in_needs_no_file(name):
    source, dtype, variables, categories, image_shape = STAND_INS[name]
    with pytest.raises(MissingDataError):
        source.load()
    data = source.stand_in(20)
    assert (data.name, data.categories, data.image_shape) == (f"{name} stand-in", categories, image_shape)
    assert all(part.x.shape == (20, variables) and part.x.dtype == dtype for part in parts(data))
    assert data.provenance["stand_in"] == "generated stand-in; numbers mean nothing"
    assert json.loads(json.dumps(data.provenance)) == data.provenance
    assert data.content_sha256 == source.stand_in(20).content_sha256
    assert not torch.equal(data.train.x, data.test.x)
    if image_shape is not None and not isinstance(source, CelebA):  # it has no classes
        assert all(part.target.dtype == torch.int64 and len(part.target) == 20 for part in parts(data))
    with pytest.raises(ValueError, match="rows must be at least 1"):
        source.stand_in(0)


@pytest.mark.parametrize(
    "source",
    [Digits(), PermutedDigits(), OrderedDigits(), BreastCancer(), Synthetic2D("rings"), GaussianNoise(3)],
)
def test_stand_in_is_the_beginning_of_the_data_by_default(source):
    data, whole = source.stand_in(50), source.load()
    assert data.name == f"{whole.name} stand-in"
    for short, full in zip(parts(data), parts(whole), strict=True):
        assert len(short.x) == min(50, len(full.x))
        assert torch.equal(short.x, full.x[:50])
        assert short.x.untyped_storage().nbytes() == short.x.nbytes  # it does not hold on to the rest
        assert short.target is None or torch.equal(short.target, full.target[:50])
    assert data.provenance["split"]["counts"]["train"] == 50
    assert data.content_sha256 == content_sha256([part.x.numpy() for part in parts(data)]) != whole.content_sha256
    assert "first 50 rows" in data.provenance["stand_in"]
    if whole.true_log_prob is not None:
        expected = whole.true_log_prob(whole.test.x)[:50]
        torch.testing.assert_close(data.true_log_prob(data.test.x), expected)
    with pytest.raises(ValueError, match="rows must be at least 1"):
        source.stand_in(0)


def test_stand_ins_of_files_are_looked_for_under_the_root(tmp_path):
    (tmp_path / "t.csv").write_text("\n".join(f"{i / 7},{i * i / 3}" for i in range(99)))
    assert Table("t.csv").stand_in(5, tmp_path).train.x.shape == (5, 2)
    with pytest.raises(MissingDataError):
        DEBD("kdd").stand_in()


def test_hash_of_bytes_is_of_bytes():
    rows = [np.arange(6, dtype=np.uint8).reshape(2, 3) + i for i in range(3)]
    data = Dataset("bytes", *batches(rows))
    assert data.content_sha256 == content_sha256(rows)
    assert data.content_sha256 != content_sha256([part.astype(np.int64) for part in rows])
