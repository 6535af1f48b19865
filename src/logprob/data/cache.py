"""Parse once: a large parsed array is kept in the cache folder, and mapped into memory the next time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logprob.data.files import array_sha256, cache_dir

Parsed = tuple[NDArray[Any], dict[str, Any]]


def cached_parse(key: Mapping[str, Any], parse: Callable[[], Parsed]) -> Parsed:
    """``parse()``, or what it gave before for the same key.

    The array is stored as ``.npy`` and mapped copy-on-write, so that what is done to it never reaches the file,
    and PyTorch can take it; its description, written after it and so proof that
    it is whole, as JSON with the array's SHA-256. Both appear under their names in one step. An entry that
    does not agree with its hash is renamed to ``.corrupt`` and parsed anew. Without a writable cache folder
    nothing is kept.

    Args:
        key: everything the result depends on, JSON-serialisable: hash of the source, version of the rule,
            options.
        parse: gives the array and a JSON-serialisable description.
    """
    stem = _stem(key)
    kept = _read(stem)
    if kept is not None:
        return kept
    array, description = parse()
    with contextlib.suppress(OSError):
        _write(stem, array, _meta(key, array_sha256(array), str(array.dtype), array.shape, description))
    return array, description


def cached_blocks(
    key: Mapping[str, Any], blocks: Callable[[], tuple[tuple[int, ...], Iterable[NDArray[np.uint8]]]]
) -> NDArray[np.uint8]:
    """The rows of many blocks as one array, mapped; at no time is more than a block in memory.

    Stored, checked and mapped as :func:`cached_parse` does. Without a writable cache folder, or without enough
    space in it, the array is made in memory.

    Args:
        key: everything the result depends on, JSON-serialisable.
        blocks: gives the shape of the array, and its rows in order, a block at a time. It may be called twice.
    """
    stem = _stem(key)
    kept = _read(stem)
    if kept is None:
        with contextlib.suppress(OSError):  # one of the source's own comes again below
            _write_blocks(stem, key, *blocks())
            kept = _read(stem)
    if kept is not None:
        return kept[0]
    shape, parts = blocks()
    array = np.empty(shape, dtype=np.uint8)
    start = 0
    for part in parts:
        array[start : start + len(part)] = part
        start += len(part)
    return array


def _stem(key: Mapping[str, Any]) -> Path:
    text = json.dumps(dict(key), sort_keys=True)
    return cache_dir() / "parsed" / hashlib.sha256(text.encode()).hexdigest()[:32]


def _meta(
    key: Mapping[str, Any], sha256: str, dtype: str, shape: tuple[int, ...], description: dict[str, Any]
) -> dict[str, Any]:
    return {"key": dict(key), "sha256": sha256, "layout": [dtype, list(shape)], "description": description}


def _read(stem: Path) -> Parsed | None:
    array_file, meta_file = stem.with_suffix(".npy"), stem.with_suffix(".json")
    try:
        meta = json.loads(meta_file.read_text(encoding="utf-8"))
        array = np.load(array_file, mmap_mode="c", allow_pickle=False)
        if [array_sha256(array), str(array.dtype), list(array.shape)] == [meta["sha256"], *meta["layout"]]:
            return array, meta["description"]
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        pass  # not one of ours, or cut short: handled as any other wrong entry
    for path in (meta_file, array_file):
        with contextlib.suppress(OSError):
            path.replace(path.with_name(path.name + ".corrupt"))
    return None


def _write_blocks(
    stem: Path, key: Mapping[str, Any], shape: tuple[int, ...], parts: Iterable[NDArray[np.uint8]]
) -> None:
    digest = hashlib.sha256()

    def write(stream: Any) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for part in parts:
            content = np.ascontiguousarray(part).data
            digest.update(content)
            stream.write(content)

    stem.parent.mkdir(parents=True, exist_ok=True)
    _replace(stem.with_suffix(".npy"), write)
    meta = _meta(key, digest.hexdigest(), "uint8", shape, {})
    _replace(stem.with_suffix(".json"), lambda stream: stream.write(json.dumps(meta).encode()))


def _write(stem: Path, array: NDArray[Any], meta: dict[str, Any]) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    _replace(stem.with_suffix(".npy"), lambda stream: np.save(stream, array, allow_pickle=False))
    _replace(stem.with_suffix(".json"), lambda stream: stream.write(json.dumps(meta).encode()))


def _replace(path: Path, write: Callable[[Any], Any]) -> None:
    """Write beside the file and rename, so that nobody ever reads half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
