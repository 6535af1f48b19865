"""CIFAR-10 in its three layouts, on small files written here."""

from __future__ import annotations

import hashlib
import os
import pickle

import numpy as np
import pytest
import torch
from python2_pickle import python2_pickle

from logprob.data import CIFAR10, CorruptDataError, MissingDataError, cifar
from logprob.data.cifar_pickle import read_cifar_pickle
from logprob.data.files import array_sha256

ROWS = 4  # of each of the five training files; the test file has 6


def arrays():
    rng = np.random.default_rng(0)
    counts = [ROWS] * 5 + [6]
    return [(rng.integers(0, 256, (n, 3072), np.uint8), rng.integers(0, 10, n).astype(np.uint8)) for n in counts]


def joined(parts):
    pixels, labels = zip(*parts, strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def write_bin(folder, parts):
    folder.mkdir(parents=True)
    for name, (pixels, labels) in zip(cifar.BATCHES, parts, strict=True):
        (folder / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], pixels], axis=1).tobytes())


def write_py(folder, parts):
    folder.mkdir(parents=True)
    for name, (pixels, labels) in zip(cifar.BATCHES, parts, strict=True):
        batch = {b"batch_label": b"one", b"labels": labels.tolist(), b"data": pixels, b"filenames": [b"a.png"]}
        (folder / name).write_bytes(python2_pickle(batch))
    return tuple(hashlib.md5((folder / name).read_bytes()).hexdigest() for name in cifar.BATCHES)


@pytest.fixture
def parts(monkeypatch):
    """Arrays of small files, and their sizes and hashes declared."""
    made = arrays()
    (train, labels), (test, test_labels) = joined(made[:5]), made[5]
    monkeypatch.setattr(cifar, "ROWS", {"cifar10": (5 * ROWS, 6), "cifar10_subset": (5 * ROWS, 6)})
    declared = {
        "train": (3, array_sha256(train[:3]), array_sha256(labels[:3])),
        "test": (2, array_sha256(test[:2]), array_sha256(test_labels[:2])),
    }
    monkeypatch.setattr(cifar, "BEGINNINGS", declared)
    return made


def check(data, parts, valid):
    train, labels = joined(parts[:5])
    assert (data.categories, data.image_shape) == (256, (3, 32, 32))
    rows = torch.cat([data.train.x, data.valid.x])
    assert (rows.dtype, data.train.target.dtype, len(data.valid.x)) == (torch.uint8, torch.int64, valid)
    np.testing.assert_array_equal(rows, train)
    np.testing.assert_array_equal(torch.cat([data.train.target, data.valid.target]), labels)
    np.testing.assert_array_equal(data.test.x, parts[5][0])
    np.testing.assert_array_equal(data.test.target, parts[5][1])
    data.train.x[0, 0] = 1  # a tensor that may be written to, as every other
    assert data.provenance["split"]["counts"] == {"train": 5 * ROWS - valid, "valid": valid, "test": 6}


@pytest.mark.parametrize("folder", ["", "cifar10", "CIFAR10"])
def test_binary_files_are_read(tmp_path, parts, folder):
    write_bin(tmp_path / folder / "cifar-10-batches-bin", parts)
    data = CIFAR10().load(tmp_path)
    assert data.name == "cifar10"
    check(data, parts, valid=4)


def test_pickles_are_read_and_hold_the_same(tmp_path, parts, monkeypatch):
    monkeypatch.setattr(cifar, "MD5", write_py(tmp_path / "py" / "cifar-10-batches-py", parts))
    write_bin(tmp_path / "bin" / "cifar-10-batches-bin", parts)
    data = CIFAR10(valid=7).load(tmp_path / "py")
    assert data.content_sha256 == CIFAR10(valid=7).load(tmp_path / "bin").content_sha256
    check(data, parts, valid=7)


def test_subset_is_read_channels_first(tmp_path, parts):
    (tmp_path / "cifar10_subset").mkdir()
    (train, labels), (test, test_labels) = joined(parts[:5]), parts[5]
    np.savez_compressed(
        tmp_path / cifar.SUBSET[0],
        train_images=train.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1),
        train_labels=labels,
        test_images=test.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1),
        test_labels=test_labels,
    )
    data = CIFAR10("cifar10_subset").load(tmp_path)
    assert data.name == "cifar10_subset"
    check(data, parts, valid=4)


def test_subset_of_the_wrong_make_is_refused(tmp_path, parts):
    path = tmp_path / "cifar10_4k1k.npz"
    np.savez(path, train_images=np.zeros((20, 32, 32), np.uint8), train_labels=np.zeros(20, np.uint8))
    with pytest.raises(CorruptDataError, match="test_images"):
        CIFAR10("cifar10_subset").load(tmp_path)
    empty = {f"{kind}_{what}": np.zeros(3) for kind in ("train", "test") for what in ("images", "labels")}
    np.savez(path, **empty)
    with pytest.raises(CorruptDataError, match=r"(?s)type and shape of images.*float64"):
        CIFAR10("cifar10_subset").load(tmp_path)
    path.write_bytes(b"no npz")
    with pytest.raises(CorruptDataError, match="expected arrays"):
        CIFAR10("cifar10_subset").load(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "number of bytes beyond whole rows"),
        (lambda content: content + content[:3073], "shape of"),
        (lambda content: b"\x0a" + content[1:], "range of the labels"),
        (lambda content: content[:1] + bytes([content[1] ^ 1]) + content[2:], "SHA-256 of the first 3 images"),
        (lambda content: bytes([(content[0] + 1) % 10]) + content[1:], "SHA-256 of the first 3 labels"),
    ],
)
def test_wrong_binary_file_is_refused(tmp_path, parts, damage, message):
    write_bin(tmp_path / "cifar-10-batches-bin", parts)
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptDataError, match=message):
        CIFAR10().load(tmp_path)


def test_pickle_without_the_official_md5_is_not_even_opened(tmp_path, parts):
    write_py(tmp_path / "cifar-10-batches-py", parts)
    with pytest.raises(CorruptDataError, match=r"MD5 of .*data_batch_1"):
        CIFAR10().load(tmp_path)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("made-by-the-pickle",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"data": Malicious(), "labels": [1]}),
        pickle.dumps({"data": np.zeros((2, 3)), "labels": [1, 2]}, protocol=2),  # floating point
        pickle.dumps({"data": [[1]], "labels": [1]}),
        pickle.dumps({"data": np.array([object()])}, protocol=2),
        pickle.dumps([1, 2]),
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\ngetattr\n(S'1'\nS'upper'\ntR.",
        b"no pickle",
        b"",
    ],
)
def test_pickles_of_anything_else_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(CorruptDataError, match="expected a pickled batch"):
        read_cifar_pickle(tmp_path / "batch")
    assert not (tmp_path / "made-by-the-pickle").exists()


def test_missing_or_unknown_set_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"(?s)data_batch_1\.bin.*cifar-10-batches-py/data_batch_1.*50,000"):
        CIFAR10().load(tmp_path)
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        CIFAR10("cifar")
    with pytest.raises(ValueError, match="valid"):
        CIFAR10("cifar10_subset", valid=4000)
    assert CIFAR10().valid * 50_000 == 10_000
