"""The binary benchmarks, on small files written here."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from logprob.data import DEBD, CorruptDataError, MissingDataError, debd
from logprob.data.files import array_sha256


def write_set(root, stem, packed=False, widths=(4, 4, 4)):
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 2, (rows, w), dtype=np.uint8) for rows, w in zip((9, 4, 5), widths, strict=True)]
    for split, rows in zip(debd.SPLITS, parts, strict=True):
        text = "".join(",".join(map(str, row)) + "\n" for row in rows.tolist()).encode()
        path = root / f"{stem}.{split}.data{'.gz' if packed else ''}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text) if packed else text)
    return parts


@pytest.mark.parametrize("stem", ["debd/kdd", "kdd/kdd", "debd/kdd/kdd", "kdd"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_layout_is_read(tmp_path, stem, packed):
    parts = write_set(tmp_path, stem, packed)
    data = DEBD("kdd").load(tmp_path)
    assert (data.name, data.categories, data.variables) == ("kdd", 2, 4)
    for batch, rows in zip((data.train, data.valid, data.test), parts, strict=True):
        assert batch.x.dtype == torch.int64
        np.testing.assert_array_equal(batch.x, rows)
    assert data.provenance["content_checked"] is False
    assert data.provenance["split"]["counts"] == {"train": 9, "valid": 4, "test": 5}


def test_windows_line_ends_are_read(tmp_path):
    parts = write_set(tmp_path, "kdd")
    path = tmp_path / "kdd.train.data"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    np.testing.assert_array_equal(DEBD("kdd").load(tmp_path).train.x, parts[0])


def test_known_set_is_checked(tmp_path, monkeypatch):
    parts = write_set(tmp_path, "debd/nltcs")
    with pytest.raises(CorruptDataError, match=r"(?s)shape of .*expected \(16181, 16\).*found +\(9, 4\)"):
        DEBD("nltcs").load(tmp_path)
    rows, hashes = tuple(map(len, parts)), tuple(map(array_sha256, parts))
    monkeypatch.setitem(debd._KNOWN, "nltcs", debd._Known(4, rows, hashes))
    assert DEBD("nltcs").load(tmp_path).provenance["content_checked"] is True
    monkeypatch.setitem(debd._KNOWN, "nltcs", debd._Known(4, rows, (hashes[0], hashes[2], hashes[1])))
    with pytest.raises(CorruptDataError, match=r"SHA-256 of the array of .*nltcs\.valid\.data"):
        DEBD("nltcs").load(tmp_path)


def test_table_of_known_sets_is_the_published_one():
    assert debd._KNOWN["nltcs"].rows == (16181, 2157, 3236)
    assert len(debd._KNOWN) == 9
    assert all(len(sha) == 64 for known in debd._KNOWN.values() for sha in known.sha256)


@pytest.mark.parametrize("content", [b"", b"0,1,1,0\n0,1\n", b"0,1,2,0\n", b"0;1;1;0\n", b"0,1,a,0\n", b"0,1,1,\n"])
def test_anything_but_rows_of_0_and_1_is_refused(tmp_path, content):
    write_set(tmp_path, "kdd")
    (tmp_path / "kdd.valid.data").write_bytes(content)
    with pytest.raises(CorruptDataError, match=r"kdd\.valid\.data"):
        DEBD("kdd").load(tmp_path)


def test_splits_of_different_widths_are_refused(tmp_path):
    write_set(tmp_path, "kdd", widths=(4, 4, 5))
    with pytest.raises(CorruptDataError, match="number of variables"):
        DEBD("kdd").load(tmp_path)


def test_missing_or_unknown_set_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"(?s)nltcs\.train\.data.*16181 \+ 2157 \+ 3236 rows x 16"):
        DEBD("nltcs").load(tmp_path)
    with pytest.raises(ValueError, match=r"did you mean 'bnetflix'\? known: .*accidents"):
        DEBD("netflix")
