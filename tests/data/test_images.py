"""The idx reader and the image sets, on small files written here."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import torch

from logprob.data import CorruptDataError, IdxImages, MissingDataError, images, read_idx
from logprob.data.files import array_sha256


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_set(folder, train=30, test=10, packed=True, size=28):
    """Four idx files; returns the arrays in the order of ``images.FILES``."""
    rng = np.random.default_rng(0)
    arrays = []
    for rows in (train, test):
        arrays.append(rng.integers(0, 256, (rows, size, size), dtype=np.uint8))
        arrays.append(rng.integers(0, 10, rows, dtype=np.uint8))
    folder.mkdir(parents=True)
    for name, array in zip(images.FILES, arrays, strict=True):
        content = idx_bytes(array)
        path = folder / (name + ".gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return arrays


@pytest.fixture
def known(monkeypatch):
    """Declare the hashes of what was just written as those of MNIST."""

    def declare(arrays):
        entry = images._SETS["mnist"]
        hashes = tuple(None if array is None else array_sha256(array) for array in arrays)
        monkeypatch.setitem(images._SETS, "mnist", images._Set(entry.folders, entry.origin, hashes))

    return declare


@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 3, 2)])
def test_read_idx_gives_back_what_was_written(tmp_path, shape):
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    (tmp_path / "a").write_bytes(idx_bytes(array))
    (tmp_path / "b.gz").write_bytes(gzip.compress(idx_bytes(array)))
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)
    np.testing.assert_array_equal(read_idx(tmp_path / "b.gz"), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"\0\0\x0d\x01" + bytes(8), "00 00 0d 01"),  # floating-point idx
        (b"PNG.", "50 4e 47"),
        (idx_bytes(np.zeros((3, 2), np.uint8))[:-1], r"shape \(3, 2\), so 18 bytes; found 17"),
        (idx_bytes(np.zeros(3, np.uint8)) + b"!", "found 12"),
        (b"\0\0\x08\x03\0\0", "found 6"),
    ],
)
def test_read_idx_refuses_anything_else(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(CorruptDataError, match=message):
        read_idx(tmp_path / "a")


@pytest.mark.parametrize(("folder", "packed"), [("mnist", True), ("MNIST/raw", False)])
def test_images_keep_the_order_of_the_files(tmp_path, known, folder, packed):
    arrays = write_set(tmp_path / folder, packed=packed)
    known(arrays)
    data = IdxImages("mnist", valid=10).load(tmp_path)
    assert (data.name, data.categories, data.image_shape, data.variables) == ("mnist", 256, (1, 28, 28), 784)
    rows = torch.cat([data.train.x, data.valid.x])
    assert rows.dtype == torch.int64
    np.testing.assert_array_equal(rows.reshape(30, 28, 28), arrays[0])
    np.testing.assert_array_equal(data.valid.target, arrays[1][-10:])
    np.testing.assert_array_equal(data.test.x.reshape(10, 28, 28), arrays[2])
    np.testing.assert_array_equal(data.test.target, arrays[3])
    assert data.provenance["split"]["counts"] == {"train": 20, "valid": 10, "test": 10}
    assert len(data.provenance["checked_arrays"]) == 4
    assert data.provenance["files"][0]["name"].startswith(folder)


def test_valid_may_be_a_fraction(tmp_path, known):
    known(write_set(tmp_path / "mnist"))
    assert len(IdxImages(valid=0.1).load(tmp_path).valid.x) == 3
    with pytest.raises(ValueError, match="valid=10000"):
        IdxImages().load(tmp_path)
    with pytest.raises(ValueError, match="valid"):
        IdxImages(valid=60_000)


def test_wrong_content_is_never_used(tmp_path, known):
    arrays = write_set(tmp_path / "mnist")
    known([arrays[0], arrays[1], arrays[2] + 1, arrays[3]])
    with pytest.raises(CorruptDataError, match=r"SHA-256 of the decompressed array of .*t10k-images"):
        IdxImages(valid=5).load(tmp_path)


def test_real_hashes_refuse_an_imitation(tmp_path):
    write_set(tmp_path / "mnist")
    with pytest.raises(CorruptDataError, match="SHA-256"):
        IdxImages("mnist", valid=5).load(tmp_path)


def test_wrong_shapes_are_refused(tmp_path, known):
    known([None] * 4)
    write_set(tmp_path / "a" / "mnist", size=8)
    with pytest.raises(CorruptDataError, match=r"(?s)shape of a row.*\(28, 28\).*\(8, 8\)"):
        IdxImages(valid=5).load(tmp_path / "a")
    write_set(tmp_path / "b" / "mnist")
    (tmp_path / "b/mnist" / (images.FILES[1] + ".gz")).write_bytes(idx_bytes(np.zeros(7, np.uint8)))
    with pytest.raises(CorruptDataError, match=r"(?s)number of labels.*30.*7"):
        IdxImages(valid=5).load(tmp_path / "b")


def test_missing_set_names_the_substitute(tmp_path):
    with pytest.raises(MissingDataError, match="Digits"):
        IdxImages("fashion_mnist").load(tmp_path)
    with pytest.raises(ValueError, match="did you mean 'fashion_mnist'"):
        IdxImages("fashionmnist")
