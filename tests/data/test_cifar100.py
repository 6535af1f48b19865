"""CIFAR-100 in its two layouts, on small files written here."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from python2_pickle import python2_pickle

from logprob.data import CIFAR100, CorruptDataError, MissingDataError, cifar100
from logprob.data.cifar_pickle import read_cifar_pickle


@pytest.fixture
def parts(monkeypatch):
    """Two training images and one test image of each class: pixels, fine and coarse labels."""
    monkeypatch.setattr(cifar100, "PER_CLASS", {"train": 2, "test": 1})
    rng = np.random.default_rng(0)
    made = {}
    for part, each in cifar100.PER_CLASS.items():
        fine = rng.permutation(np.repeat(np.arange(100, dtype=np.uint8), each))
        made[part] = rng.integers(0, 256, (len(fine), 3072), np.uint8), fine, fine // 5
    return made


def binary(pixels, fine, coarse):
    return np.concatenate([coarse[:, None], fine[:, None], pixels], axis=1).tobytes()


def write_binary(folder, parts):
    folder = folder / "cifar-100-binary"
    folder.mkdir(parents=True)
    for part, arrays in parts.items():
        (folder / f"{part}.bin").write_bytes(binary(*arrays))
    return folder


def write_pickles(folder, parts, monkeypatch):
    folder = folder / "cifar-100-python"
    folder.mkdir(parents=True)
    for part, (pixels, fine, coarse) in parts.items():
        content = {b"data": pixels, b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist(), b"filenames": []}
        (folder / part).write_bytes(python2_pickle(content))
    md5 = {part: hashlib.md5((folder / part).read_bytes()).hexdigest() for part in parts}
    monkeypatch.setattr(cifar100, "MD5", md5)
    return folder


def check(data, parts, valid):
    assert (data.name, data.categories, data.image_shape) == ("cifar100", 256, (3, 32, 32))
    assert (data.train.x.dtype, data.train.target.dtype, len(data.valid.x)) == (torch.uint8, torch.int64, valid)
    np.testing.assert_array_equal(torch.cat([data.train.x, data.valid.x]), parts["train"][0])
    np.testing.assert_array_equal(torch.cat([data.train.target, data.valid.target]), parts["train"][1])
    np.testing.assert_array_equal(data.test.x, parts["test"][0])
    np.testing.assert_array_equal(data.test.target, parts["test"][1])
    data.test.x[0, 0] = 1  # a tensor that may be written to, as every other


@pytest.mark.parametrize("folder", ["", "cifar100", "CIFAR100"])
def test_binary_files_are_read(tmp_path, parts, folder):
    write_binary(tmp_path / folder, parts)
    check(CIFAR100().load(tmp_path), parts, valid=40)


def test_pickles_are_read_and_hold_the_same(tmp_path, parts, monkeypatch):
    write_pickles(tmp_path / "py", parts, monkeypatch)
    write_binary(tmp_path / "bin", parts)
    data = CIFAR100(valid=30).load(tmp_path / "py")
    assert data.content_sha256 == CIFAR100(valid=30).load(tmp_path / "bin").content_sha256
    check(data, parts, valid=30)


def test_coarse_labels_can_be_read(tmp_path, parts, monkeypatch):
    folder = write_pickles(tmp_path, parts, monkeypatch)
    np.testing.assert_array_equal(read_cifar_pickle(folder / "test", "coarse_labels")[1], parts["test"][2])
    with pytest.raises(CorruptDataError, match="with data and labels"):
        read_cifar_pickle(folder / "test")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "number of bytes beyond whole rows"),
        (lambda content: content[:-3074] + content[:3074], "number of pairs|of each label"),
        (lambda content: content + content[:3074], "shape of"),
        (lambda content: bytes([content[0] ^ 1]) + content[1:], "number of pairs"),
        (lambda content: content[:1] + b"\xff" + content[2:], "number of pairs|range"),
    ],
)
def test_wrong_binary_file_is_refused(tmp_path, parts, damage, message):
    path = write_binary(tmp_path, parts) / "train.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptDataError, match=message):
        CIFAR100().load(tmp_path)


def test_files_of_which_the_label_columns_are_swapped_are_refused(tmp_path, parts):
    swapped = {part: (pixels, coarse, fine) for part, (pixels, fine, coarse) in parts.items()}
    write_binary(tmp_path, swapped)
    with pytest.raises(CorruptDataError, match="number of coarse labels"):
        CIFAR100().load(tmp_path)


def test_pickle_without_the_official_md5_is_not_even_opened(tmp_path, parts, monkeypatch):
    folder = write_pickles(tmp_path, parts, monkeypatch)
    (folder / "train").write_bytes(b"no pickle")
    with pytest.raises(CorruptDataError, match=r"MD5 of .*train"):
        CIFAR100().load(tmp_path)


def test_missing_files_are_named_and_stand_in_needs_none(tmp_path):
    with pytest.raises(MissingDataError, match=r"(?s)train\.bin.*cifar-100-python/train.*50,000"):
        CIFAR100().load(tmp_path)
    with pytest.raises(ValueError, match="valid"):
        CIFAR100(valid=50_000)
    data = CIFAR100().stand_in(300)
    assert (data.train.x.dtype, data.image_shape, data.categories) == (torch.uint8, (3, 32, 32), 256)
    assert 90 < data.train.target.max() < 100
