"""CelebA in its layouts, on a few photographs painted here."""

from __future__ import annotations

import io
import sys
import zipfile

import numpy as np
import pytest
import torch

from logprob.data import CelebA, CorruptDataError, MissingDataError, cache_dir, celeba, photographs

ROWS = (7, 3, 2)
SPLIT = [0, 0, 1, 0, 2, 0, 1, 0, 0, 2, 1, 0]  # of the photographs in the order of the partition


def photograph(number, size=(178, 218), mode="RGB", kind="JPEG"):
    """One colour, which JPEG keeps to a level or two, in a black border of ten pixels."""
    from PIL import Image

    image = Image.new("RGB", size)
    colour = (20 * number % 256, 200 - 10 * number, 30)
    image.paste(colour, (10, 10, size[0] - 10, size[1] - 10))
    stream = io.BytesIO()
    image.convert(mode).save(stream, kind, quality=95)
    return stream.getvalue()


def partition(separator):
    lines = [f"{i + 1:06}.jpg{separator}{part}" for i, part in enumerate(SPLIT)]
    return "\n".join([*(["image_id,partition"] if separator == "," else []), *lines, ""])


def write(root, layout):
    images, names = (root / path for path in layout)
    for path in (images, names):
        path.parent.mkdir(parents=True, exist_ok=True)
    names.write_text(partition("," if names.suffix == ".csv" else " "))
    contents = {f"{i + 1:06}.jpg": photograph(i) for i in range(len(SPLIT))}
    if images.suffix == ".zip":
        with zipfile.ZipFile(images, "w") as archive:
            for name in reversed(contents):
                archive.writestr(f"img_align_celeba/{name}", contents[name])
            archive.writestr("img_align_celeba/notes.txt", "no image")
    else:
        for name, content in contents.items():
            (images.parent / name).write_bytes(content)
    return images if images.suffix == ".zip" else images.parent


@pytest.fixture(autouse=True)
def declared(monkeypatch):
    pytest.importorskip("PIL")
    monkeypatch.setattr(celeba, "ROWS", ROWS)
    monkeypatch.setattr(photographs, "BLOCK", 5)


@pytest.mark.parametrize("folder", ["", "celeba", "CelebA"])
@pytest.mark.parametrize("layout", celeba.LAYOUTS)
def test_layouts(tmp_path, monkeypatch, layout, folder):
    write(tmp_path / folder, layout)
    data = CelebA(size=16).load(tmp_path)
    assert (data.name, data.categories, data.image_shape) == ("celeba16", 256, (3, 16, 16))
    assert data.provenance["split"]["counts"] == {"train": 7, "valid": 3, "test": 2}
    for part, batch in enumerate((data.train, data.valid, data.test)):
        numbers = np.flatnonzero(np.array(SPLIT) == part)
        assert batch.x.dtype == torch.uint8
        assert batch.target is None
        expected = np.stack([20 * numbers % 256, 200 - 10 * numbers, np.full(len(numbers), 30)], axis=1)
        colours = batch.x.unflatten(-1, (3, 256))
        assert abs(colours.numpy().astype(int) - expected[..., None]).max() <= 3  # the border was cut off
    assert CelebA(size=16).load(tmp_path).provenance == data.provenance
    monkeypatch.setattr(celeba, "face_blocks", None)  # the second time no photograph is opened
    assert CelebA(size=16).load(tmp_path).content_sha256 == data.content_sha256
    (stored,) = cache_dir().rglob("*.npy")
    assert np.load(stored).shape == (12, 768)


def test_the_middle_is_kept(tmp_path):
    """The whole photograph has its black border, of 10 pixels in 178, and so 3.6 of 64."""
    write(tmp_path, celeba.LAYOUTS[0])
    whole = CelebA(crop=None).load(tmp_path).train.x[0].reshape(3, 64, 64)
    assert whole[1, :2].max() < 20
    assert whole[1, :, :3].max() < 20
    assert whole[1, 6:-6, 6:-6].min() > 190
    cut = CelebA(crop=178).load(tmp_path).train.x[0].reshape(3, 64, 64)
    assert cut[1, :, :3].max() < 20
    assert cut[1, 0, 6:-6].min() > 190  # 218 - 178 pixels are cut off above and below
    assert photographs.middle(148) == (15, 35, 163, 183)


def test_a_changed_folder_is_read_again(tmp_path):
    folder = write(tmp_path, celeba.LAYOUTS[0])
    before = CelebA(size=8).load(tmp_path)
    (folder / "000001.jpg").write_bytes(photograph(11, mode="L"))
    after = CelebA(size=8).load(tmp_path)
    assert not torch.equal(after.train.x[0], before.train.x[0])
    assert torch.equal(after.train.x[1:], before.train.x[1:])
    assert torch.equal(after.train.x[0, :64], after.train.x[0, 64:128])  # grey, in three channels
    assert after.provenance["files"][0]["hash_of"] == "names and sizes"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: photograph(0, (64, 64)), "it is RGB of 64 x 64"),
        (lambda: photograph(0, mode="CMYK"), "it is CMYK"),
        (lambda: photograph(0, kind="PNG"), r"000004\.jpg: expected an RGB or grey JPEG"),
        (lambda: photograph(0)[:400], r"000004\.jpg: expected an RGB or grey JPEG"),
        (lambda: bytes(2**20 + 1), "too many for such a photograph"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_wrong_photographs_are_refused(tmp_path, content, message, packed):
    images = write(tmp_path, celeba.LAYOUTS[1 if packed else 0])
    if packed:
        with zipfile.ZipFile(images, "w") as archive:
            for number in range(12):
                archive.writestr(f"{number + 1:06}.jpg", content() if number == 3 else photograph(number))
    else:
        (images / "000004.jpg").write_bytes(content())
    with pytest.raises(CorruptDataError, match=message):
        CelebA(size=8).load(tmp_path)
    assert not list(cache_dir().rglob("*.npy"))


def test_missing_members_and_broken_archives_are_refused(tmp_path):
    images = write(tmp_path / "folder", celeba.LAYOUTS[0])
    (images / "000005.jpg").unlink()
    with pytest.raises(CorruptDataError, match=r"000005\.jpg: expected an image of this name"):
        CelebA().load(tmp_path / "folder")
    images = write(tmp_path / "zip", celeba.LAYOUTS[1])
    whole = images.read_bytes()
    with zipfile.ZipFile(images, "w") as archive:
        archive.writestr("img_align_celeba/000001.jpg", photograph(0))
    with pytest.raises(CorruptDataError, match=r"expected a member 000002\.jpg"):
        CelebA().load(tmp_path / "zip")
    for broken in (whole[: len(whole) // 2], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        images.write_bytes(broken)
        with pytest.raises(CorruptDataError, match=r"whole zip archive|expected"):
            CelebA().load(tmp_path / "zip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("000001.jpg 0\n", r"(?s)number of train, validation and test images.*\(7, 3, 2\).*\(1, 0, 0\)"),
        ("000001.jpg 3\n", r"line 1: expected the name of a file and 0, 1 or 2, got '000001\.jpg 3'"),
        ("../../secret.jpg 0\n", "line 1: expected the name of a file"),
        ("000001.jpg\n", "line 1: expected the name of a file"),
    ],
)
def test_wrong_partitions_are_refused(tmp_path, text, message):
    write(tmp_path, celeba.LAYOUTS[0])
    (tmp_path / "list_eval_partition.txt").write_text(text)
    with pytest.raises(CorruptDataError, match=message):
        CelebA().load(tmp_path)


def test_missing_pillow_missing_files_and_wrong_arguments_are_named(tmp_path, monkeypatch):
    with pytest.raises(MissingDataError, match=r"(?s)img_align_celeba/000001\.jpg.*non-commercial research"):
        CelebA().load(tmp_path)
    write(tmp_path, celeba.LAYOUTS[0])
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match="Pillow"):
        CelebA().load(tmp_path)
    with pytest.raises(ValueError, match="crop must be from 1 to 178 or None, got 218"):
        CelebA(crop=218)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        CelebA(size=0)
