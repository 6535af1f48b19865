"""Where files are looked for, what a missing one says, and how a wrong one is refused."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest

from logprob.data import CorruptDataError, MissingDataError, cache_dir, search_roots
from logprob.data.cache import cached_parse
from logprob.data.files import Origin, find_files, read_bytes

ORIGIN = Origin("plain", "a public place", "MIT", "Digits", ("12 bytes",))


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("content")
    return folder


def test_argument_comes_before_environment_before_cache(tmp_path, monkeypatch, cache_home):
    monkeypatch.setenv("LOGPROB_DATA", os.pathsep.join([str(tmp_path / "b"), str(tmp_path / "c")]))
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "c", cache_home / "logprob"]
    assert search_roots(tmp_path / "a") == folders
    assert search_roots() == folders[1:]
    for folder in reversed(folders):
        put(folder, "x")
        assert find_files(ORIGIN, [["x"]], tmp_path / "a").folder == folder


def test_cache_folder_is_the_platforms(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    if os.name == "posix":
        assert cache_dir() == tmp_path / ".cache" / "logprob"


def test_a_layout_is_complete_in_one_folder(tmp_path, monkeypatch):
    put(tmp_path / "a", "x")
    put(tmp_path / "b", "x", "sub/y")
    monkeypatch.setenv("LOGPROB_DATA", str(tmp_path / "b"))
    found = find_files(ORIGIN, [["x", "y"], ["x", "sub/y"]], tmp_path / "a")
    assert found.folder == tmp_path / "b"
    assert found.names == ("x", "sub/y")
    described = found.describe()
    assert [entry["name"] for entry in described] == ["x", "sub/y"]
    assert described[0]["bytes"] == 7
    assert described[0]["sha256"].startswith("ed7002b4")


def test_missing_files_tell_everything(tmp_path, cache_home):
    put(tmp_path, "half/a")
    with pytest.raises(MissingDataError) as caught:
        find_files(ORIGIN, [["half/a", "half/b"], ["flat_a", "flat_b"]], tmp_path)
    message = str(caught.value)
    for part in (
        "'plain'",
        "half/a, half/b",
        "flat_a",
        str(tmp_path),
        str(cache_home / "logprob") + " (no such folder)",
        "has some, but not half/b",
        "a public place",
        "LOGPROB_DATA",
        "12 bytes",
        "licence: MIT",
        "use: Digits",
    ):
        assert part in message
    assert isinstance(caught.value, FileNotFoundError)


def test_wrong_file_of_the_user_is_refused_and_left_alone(tmp_path):
    found = find_files(ORIGIN, [["x"]], put(tmp_path, "x"))
    found.check("x", "size", 7, 7)
    with pytest.raises(CorruptDataError, match=r"(?s)size of .*x.*left as it is.*expected 1.*found +2"):
        found.check("x", "size", 1, 2)
    assert (tmp_path / "x").exists()


@pytest.mark.parametrize("named", [False, True])
def test_wrong_file_is_renamed_only_in_a_cache_nobody_named(monkeypatch, named):
    put(cache_dir(), "x")
    if named:
        monkeypatch.setenv("LOGPROB_DATA", str(cache_dir()))
    found = find_files(ORIGIN, [["x"]])
    with pytest.raises(CorruptDataError):
        found.check("x", "size", 1, 2)
    assert (cache_dir() / "x").exists() == named
    assert (cache_dir() / "x.corrupt").exists() != named


def test_gzip_is_known_by_its_first_bytes_and_must_be_whole(tmp_path):
    packed = gzip.compress(b"some text" * 100)
    (tmp_path / "a").write_bytes(packed)
    (tmp_path / "b").write_bytes(packed[:-20])
    (tmp_path / "c").write_bytes(packed[:20] + b"?" + packed[21:])
    assert read_bytes(tmp_path / "a") == b"some text" * 100
    for name in "bc":
        with pytest.raises(CorruptDataError, match="not a whole gzip file"):
            read_bytes(tmp_path / name)


class Parser:
    """Counts how often it is asked."""

    calls = 0

    def __call__(self):
        self.calls += 1
        return np.arange(6.0).reshape(2, 3), {"names": ["a", "b", "c"]}


def test_parsed_array_is_kept_mapped_and_keyed():
    parse = Parser()
    for _ in range(2):
        array, description = cached_parse({"source": "1"}, parse)
        assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
        assert description == {"names": ["a", "b", "c"]}
    assert parse.calls == 1
    assert isinstance(array, np.memmap)
    cached_parse({"source": "2"}, parse)
    assert parse.calls == 2
    assert not list(cache_dir().rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["array", "cut", "meta"])
def test_damaged_cache_entry_is_set_aside_and_made_anew(damage):
    parse = Parser()
    cached_parse({}, parse)
    (array_file,) = cache_dir().rglob("*.npy")
    content = array_file.read_bytes()
    if damage == "array":
        array_file.write_bytes(content[:-1] + b"!")
    elif damage == "cut":
        array_file.write_bytes(content[:-8])
    else:
        array_file.with_suffix(".json").write_text("{")
    array, _ = cached_parse({}, parse)
    assert parse.calls == 2
    assert array[1, 2] == 5
    assert list(cache_dir().rglob("*.corrupt"))
    cached_parse({}, parse)
    assert parse.calls == 2


def test_without_a_writable_cache_nothing_is_kept(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    parse = Parser()
    for _ in range(2):
        assert cached_parse({}, parse)[0].shape == (2, 3)
    assert parse.calls == 2
