"""Omniglot in its two editions, on small files written here, and the resampling against that of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.io import savemat

from logprob.data import CorruptDataError, MissingDataError, Omniglot, Omniglot28, omniglot, omniglot28
from logprob.data.files import array_sha256
from logprob.data.resampling import area_weights, bilinear_weights, resampled

CHARACTERS, BACKGROUND, EVALUATION, MOVED = (3, 2), 60, 40, 15


def paper(characters, seed):
    """White sheets with a few black strokes of three pixels."""
    rng = np.random.default_rng(seed)
    images = np.ones((characters, 20, 105, 105), dtype=bool)
    for image in images.reshape(-1, 105, 105):
        row, column = rng.integers(0, 100, 2)
        image[row : row + 3, 10:90] = image[5:95, column : column + 3] = False
    return images


@pytest.fixture
def originals(tmp_path, monkeypatch):
    arrays = [paper(characters, seed) for seed, characters in enumerate(CHARACTERS)]
    (tmp_path / "omniglot").mkdir()
    for name, array in zip(omniglot.FILES, arrays, strict=True):
        np.savez_compressed(tmp_path / "omniglot" / name, images=array)
    values = {"CHARACTERS": CHARACTERS, "BACKGROUND": BACKGROUND, "MOVED": MOVED, "TRAIN": BACKGROUND + MOVED}
    for name, value in {**values, "ARRAYS": tuple(map(array_sha256, arrays))}.items():
        monkeypatch.setattr(omniglot, name, value)
    return arrays


def shrunk(images, protocol):
    """Shares of ink by a mean over areas of a picture four times as large; torch's interpolation of paper."""
    if protocol == "published":
        sheets = torch.from_numpy(images.reshape(-1, 1, 105, 105)).double()
        return F.interpolate(sheets, (28, 28), mode="bilinear", align_corners=False).flatten(1)
    large = (~images).reshape(-1, 105, 105).repeat(4, 1).repeat(4, 2)
    return torch.from_numpy(large).double().unflatten(1, (28, 15)).unflatten(-1, (28, 15)).mean((2, 4)).flatten(1)


@pytest.mark.parametrize(("protocol", "levels"), [("standard", 225), ("published", 64)])
def test_protocols(tmp_path, monkeypatch, originals, protocol, levels):
    data = Omniglot(protocol, valid=10).load(tmp_path)
    assert (data.categories, data.image_shape, data.variables) == (levels + 1, (1, 28, 28), 784)
    assert data.provenance["split"]["counts"] == {"train": 65, "valid": 10, "test": 25}
    expected = torch.cat([shrunk(part, protocol) for part in originals])
    order = np.random.RandomState(0).permutation(EVALUATION)
    test = BACKGROUND + np.sort(order[MOVED:])
    torch.testing.assert_close(data.test.x.double() / levels, expected[test], atol=1e-12, rtol=0)
    np.testing.assert_array_equal(data.test.target, test // 20)
    pool = torch.cat([data.train.x, data.valid.x])
    rest = np.setdiff1d(np.arange(BACKGROUND + EVALUATION), test)
    assert sorted((pool.double() / levels).sum(1).tolist()) == pytest.approx(sorted(expected[rest].sum(1).tolist()))
    assert data.train.x.dtype == data.train.target.dtype == torch.int64
    bright = data.train.x.double().mean().item() / levels
    assert bright > 0.8 if protocol == "published" else bright < 0.2
    monkeypatch.setattr(omniglot, "resampled", None)  # the second time nothing is made
    assert Omniglot(protocol, valid=10).load(tmp_path).content_sha256 == data.content_sha256
    other = Omniglot(protocol, valid=10, seed=1).load(tmp_path)
    assert other.content_sha256 != data.content_sha256


def test_counts_of_the_real_set():
    assert (omniglot.BACKGROUND, omniglot.TRAIN) == (19_280, 24_345)
    splits = omniglot._split(1_345, seed=0)
    assert splits.counts() == {"train": 23_000, "valid": 1_345, "test": 8_115}
    assert sorted(np.concatenate(splits)) == list(range(32_460))
    assert splits.test.min() >= 19_280


def test_wrong_files_are_refused(tmp_path, monkeypatch, originals):
    path = tmp_path / "omniglot" / omniglot.FILES[1]
    good = path.read_bytes()
    for message, arrays in {
        "SHA-256 of the array": {"images": ~originals[1]},
        r"(?s)type and shape.*uint8": {"images": originals[1].astype(np.uint8)},
        r"(?s)type and shape.*\(1, 20, 105, 105\)": {"images": originals[1][:1]},
        "expected an npz with an array images": {"image": originals[1]},
    }.items():
        np.savez(path, **arrays)
        with pytest.raises(CorruptDataError, match=message):
            Omniglot(valid=10).load(tmp_path)
    path.write_bytes(good[:500])
    with pytest.raises(CorruptDataError, match="expected an npz"):
        Omniglot(valid=10).load(tmp_path)


def test_missing_files_and_wrong_arguments_are_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"(?s)images_background\.npz.*MIT.*Digits"):
        Omniglot().load(tmp_path)
    with pytest.raises(MissingDataError, match=r"(?s)chardata\.mat.*yburda/iwae"):
        Omniglot28().load(tmp_path)
    with pytest.raises(ValueError, match="unknown protocol 'publish'; did you mean 'published'"):
        Omniglot("publish")
    for source in (Omniglot, Omniglot28):
        with pytest.raises(ValueError, match="valid"):
            source(valid=24_345)


@pytest.fixture
def matlab(tmp_path, monkeypatch):
    monkeypatch.setattr(omniglot28, "ROWS", (12, 5))
    rng = np.random.default_rng(0)
    images = {"data": rng.random((12, 28, 28)), "testdata": rng.random((5, 28, 28))}
    arrays = {name: part.transpose(0, 2, 1).reshape(len(part), -1).T for name, part in images.items()}  # columns first
    labels = {"target": rng.integers(0, 50, 12), "testtarget": rng.integers(0, 50, 5)}
    arrays |= {name: np.eye(50)[:, part] for name, part in labels.items()}
    (tmp_path / "OMNIGLOT").mkdir()
    return tmp_path / "OMNIGLOT" / "chardata.mat", arrays, images, labels


def test_the_matlab_edition_is_turned_upright(tmp_path, matlab):
    path, arrays, images, labels = matlab
    savemat(path, {**arrays, "other": np.zeros(3)}, do_compression=True)
    data = Omniglot28(valid=4, seed=2).load(tmp_path)
    assert (data.name, data.categories, data.image_shape) == ("omniglot28", None, (1, 28, 28))
    assert data.train.x.dtype == torch.float32
    np.testing.assert_array_equal(data.test.x.reshape(5, 28, 28), images["testdata"].astype(np.float32))
    np.testing.assert_array_equal(data.test.target, labels["testtarget"])
    valid = np.sort(np.random.RandomState(2).permutation(12)[:4])
    np.testing.assert_array_equal(data.valid.x.reshape(4, 28, 28), images["data"][valid].astype(np.float32))
    np.testing.assert_array_equal(data.train.target, np.delete(labels["target"], valid))


def test_wrong_matlab_files_are_refused(tmp_path, matlab):
    path, arrays, *_ = matlab
    for message, changed in {
        r"(?s)shape of data.*\(784, 12\)": {"data": arrays["data"][:, 1:]},
        "shape of testtarget": {"testtarget": arrays["testtarget"].T},
        "range of testdata": {"testdata": 255 * arrays["testdata"]},
        "expected a MATLAB file with arrays data, target": {"target": "text"},
    }.items():
        savemat(path, {**arrays, **changed})
        with pytest.raises(CorruptDataError, match=message):
            Omniglot28(valid=4).load(tmp_path)
    savemat(path, {"data": arrays["data"]})
    with pytest.raises(CorruptDataError, match="expected a MATLAB file"):
        Omniglot28(valid=4).load(tmp_path)
    for content in (b"", b"no MATLAB file" * 20, b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(200)):
        path.write_bytes(content)
        with pytest.raises(CorruptDataError, match="expected a MATLAB file"):
            Omniglot28(valid=4).load(tmp_path)


@pytest.mark.parametrize(("side", "smaller"), [(105, 28), (8, 4), (9, 9), (7, 3), (28, 5), (10, 4), (5, 1)])
def test_weights_are_whole_numbers_of_equal_sums(side, smaller):
    images = torch.rand(3, 1, side, side, dtype=torch.float64)
    area, bilinear = area_weights(side, smaller), bilinear_weights(side, smaller)
    for weights in (area, bilinear):
        assert (weights == weights.round()).all()
        assert len(set(weights.sum(1))) == 1
    assert len(set(area.sum(0))) == 1  # every pixel is used as much as every other
    normalised = torch.from_numpy(bilinear).double() / bilinear[0].sum()
    expected = F.interpolate(images, (smaller, smaller), mode="bilinear", align_corners=False)
    torch.testing.assert_close(normalised @ images @ normalised.T, expected)


def test_resampling_goes_block_by_block(monkeypatch):
    images = np.random.default_rng(0).random((7, 10, 10)) < 0.5
    whole = resampled(images, area_weights(10, 4))
    monkeypatch.setattr("logprob.data.resampling.BLOCK", 3)
    np.testing.assert_array_equal(resampled(images, area_weights(10, 4)), whole)
    assert whole.max() <= 25
    for weights in (area_weights, bilinear_weights):
        with pytest.raises(ValueError, match="got 5 and 4"):
            weights(4, 5)
