"""Downsampled ImageNet in its two layouts, on small files written here."""

from __future__ import annotations

import io
import sys
import tarfile

import numpy as np
import pytest
import torch

from logprob.data import CorruptDataError, DownsampledImageNet, MissingDataError, cache_dir, image_archives, imagenet
from logprob.data.cache import cached_blocks

SIZE = 32
TRAIN, TEST = 30, 7


def pixels(rows, seed, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (rows, 3 * size * size), dtype=np.uint8)


def write_npz(root):
    folder = root / f"imagenet{SIZE}"
    folder.mkdir(parents=True)
    train, test = pixels(TRAIN, 0), pixels(TEST, 1)
    labels = np.arange(TRAIN) % 1000 + 1
    for i in range(10):
        part = slice(3 * i, 3 * i + 3)
        mean = np.zeros(3 * SIZE * SIZE)
        np.savez(folder / f"train_data_batch_{i + 1}.npz", data=train[part], labels=labels[part], mean=mean)
    np.savez_compressed(folder / "val_data.npz", data=test, labels=np.full(TEST, 1000))
    return train, test


def png(row, size=SIZE, mode="RGB"):
    from PIL import Image

    image = Image.fromarray(row.reshape(3, size, size).transpose(1, 2, 0)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("images")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("images/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)


def write_tars(root):
    train, test = pixels(TRAIN, 0), pixels(TEST, 1)
    for kind, rows in (("train", train), ("valid", test)):
        members = [(f"images/../{i:03}.png", png(row)) for i, row in enumerate(rows)]
        write_tar(root / f"{kind}_{SIZE}x{SIZE}.tar", [*members, ("images/notes.txt", b"no image")])
    return train, test


@pytest.fixture(autouse=True)
def declared(monkeypatch):
    monkeypatch.setattr(imagenet, "NPZ_ROWS", (TRAIN, TEST))
    monkeypatch.setattr(image_archives, "BLOCK", 8)


def check(data, train, test, seed=0):
    assert (data.name, data.categories, data.image_shape) == ("imagenet32", 256, (3, 32, 32))
    chosen = np.zeros(TRAIN, dtype=bool)
    chosen[np.random.RandomState(seed).permutation(TRAIN)[:5]] = True
    for batch, rows in ((data.train, train[~chosen]), (data.valid, train[chosen]), (data.test, test)):
        assert batch.x.dtype == torch.uint8
        np.testing.assert_array_equal(batch.x, rows)
    assert data.provenance["split"]["counts"] == {"train": TRAIN - 5, "valid": 5, "test": TEST}
    return chosen


def test_npz_batches_are_read_once_and_then_mapped(tmp_path, monkeypatch):
    train, test = write_npz(tmp_path)
    source = DownsampledImageNet(valid=5)
    chosen = check(source.load(tmp_path), train, test)
    monkeypatch.setattr(imagenet, "npz_blocks", None)
    data = source.load(tmp_path)
    check(data, train, test)
    np.testing.assert_array_equal(data.valid.target, np.flatnonzero(chosen))
    assert data.train.target.dtype == torch.int64
    assert data.test.target.tolist() == [999] * TEST


@pytest.mark.parametrize("folder", ["", "imagenet", "imagenet32"])
def test_archives_of_pngs_are_read(tmp_path, monkeypatch, folder):
    train, test = write_tars(tmp_path / folder)
    data = DownsampledImageNet(valid=5, seed=3).load(tmp_path)
    check(data, train, test, seed=3)
    assert data.train.target is None
    monkeypatch.setattr(imagenet, "tar_rows", None)
    monkeypatch.setattr(imagenet, "tar_blocks", None)
    again = DownsampledImageNet(valid=5, seed=3).load(tmp_path)
    assert again.provenance == data.provenance
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == []  # nothing was extracted


def test_rows_lie_in_the_cache_and_changes_of_them_do_not(tmp_path):
    write_npz(tmp_path)
    data = DownsampledImageNet(valid=5).load(tmp_path)
    (stored,) = cache_dir().rglob("*.npy")
    assert np.load(stored).shape == (TRAIN + TEST, 3072)
    assert data.train.x.untyped_storage().nbytes() == data.train.x.nbytes  # a view of the map, no copy with more
    before = stored.read_bytes()
    first = data.train.x[0, 0].item()
    data.train.x[0, 0] = 255 - first
    assert stored.read_bytes() == before
    assert DownsampledImageNet(valid=5).load(tmp_path).train.x[0, 0] == first
    other = DownsampledImageNet(valid=5, seed=1).load(tmp_path)
    assert other.content_sha256 != DownsampledImageNet(valid=5).load(tmp_path).content_sha256


def test_without_a_writable_cache_the_images_are_in_memory(tmp_path, monkeypatch):
    train, test = write_npz(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    check(DownsampledImageNet(valid=5).load(tmp_path), train, test)


def test_blocks_that_cannot_be_read_leave_nothing_behind():
    def broken():
        def parts():
            yield np.zeros((1, 2), np.uint8)
            raise CorruptDataError("broken")

        return (2, 2), parts()

    with pytest.raises(CorruptDataError):
        cached_blocks({}, broken)
    assert not [path for path in cache_dir().rglob("*") if path.is_file()]
    rows = np.arange(4, dtype=np.uint8).reshape(2, 2)
    kept = cached_blocks({}, lambda: ((2, 2), iter([rows[:1], rows[1:]])))
    assert isinstance(kept, np.memmap)
    np.testing.assert_array_equal(kept, rows)


def test_wrong_npz_files_are_refused(tmp_path, monkeypatch):
    write_npz(tmp_path)
    path = tmp_path / "imagenet32" / "train_data_batch_4.npz"
    good = path.read_bytes()
    cases = {
        "found": {"data": pixels(2, 0), "labels": np.ones(2, int)},
        "expected uint8 rows of 3072": {"data": pixels(3, 0, size=16), "labels": np.ones(3, int)},
        "data is float64": {"data": np.zeros((3, 3072)), "labels": np.ones(3, int)},
        "labels from 1 to 1000": {"data": pixels(3, 0), "labels": np.zeros(3, int)},
        "number of labels": {"data": pixels(3, 0), "labels": np.ones(2, int)},
        "expected an npz": {"labels": np.ones(3, int)},
    }
    for message, arrays in cases.items():
        np.savez(path, **arrays)
        with pytest.raises(CorruptDataError, match=message):
            DownsampledImageNet(valid=5).load(tmp_path)
    path.write_bytes(good[:200])
    with pytest.raises(CorruptDataError, match="expected an npz"):
        DownsampledImageNet(valid=5).load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: png(pixels(1, 0, 16)[0], 16), "it is RGB of 16 x 16"),
        (lambda: png(pixels(1, 0)[0], mode="RGBA"), "it is RGBA"),
        (lambda: png(pixels(1, 0)[0])[:-400], "odd.png"),
        (lambda: b"GIF89a", "odd.png"),
        (lambda: bytes(2**20 + 1), "too many for a PNG"),
    ],
)
def test_wrong_members_are_refused(tmp_path, content, message):
    write_tars(tmp_path)
    write_tar(tmp_path / "train_32x32.tar", [("a.png", png(pixels(1, 0)[0])), ("odd.png", content())] * 4)
    with pytest.raises(CorruptDataError, match=message):
        DownsampledImageNet(valid=1).load(tmp_path)


def test_grey_images_get_three_channels_and_cut_archives_are_refused(tmp_path):
    write_tars(tmp_path)
    path = tmp_path / "train_32x32.tar"
    write_tar(path, [(f"{i}.png", png(row, mode="L")) for i, row in enumerate(pixels(4, 0))])
    x = DownsampledImageNet(valid=1).load(tmp_path).train.x.reshape(3, 3, 32, 32)
    assert torch.equal(x[:, 0], x[:, 2])
    path.write_bytes(path.read_bytes()[:-11_000])
    with pytest.raises(CorruptDataError, match="whole tar"):
        DownsampledImageNet(valid=1).load(tmp_path)


def test_missing_pillow_and_missing_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(MissingDataError, match=r"(?s)train_data_batch_1\.npz.*train_32x32\.tar.*ImageNet terms"):
        DownsampledImageNet(valid=5).load(tmp_path)
    write_tars(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match="Pillow"):
        DownsampledImageNet(valid=5).load(tmp_path)
    with pytest.raises(ValueError, match="size must be 32 or 64"):
        DownsampledImageNet(16)
