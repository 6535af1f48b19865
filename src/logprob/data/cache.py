"""Parse once: a large parsed array is kept in the cache folder, and mapped into memory the next time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logprob.data.files import array_sha256, cache_dir

Parsed = tuple[NDArray[Any], dict[str, Any]]


def cached_parse(key: Mapping[str, Any], parse: Callable[[], Parsed]) -> Parsed:
    """``parse()``, or what it gave before for the same key.

    The array is stored as ``.npy`` and mapped read-only; its description, written after it and so proof that
    it is whole, as JSON with the array's SHA-256. Both appear under their names in one step. An entry that
    does not agree with its hash is renamed to ``.corrupt`` and parsed anew. Without a writable cache folder
    nothing is kept.

    Args:
        key: everything the result depends on, JSON-serialisable: hash of the source, version of the rule,
            options.
        parse: gives the array and a JSON-serialisable description.
    """
    text = json.dumps(dict(key), sort_keys=True)
    stem = cache_dir() / "parsed" / hashlib.sha256(text.encode()).hexdigest()[:32]
    kept = _read(stem)
    if kept is not None:
        return kept
    array, description = parse()
    with contextlib.suppress(OSError):
        layout = [str(array.dtype), list(array.shape)]
        meta = {"key": dict(key), "sha256": array_sha256(array), "layout": layout, "description": description}
        _write(stem, array, meta)
    return array, description


def _read(stem: Path) -> Parsed | None:
    array_file, meta_file = stem.with_suffix(".npy"), stem.with_suffix(".json")
    try:
        meta = json.loads(meta_file.read_text(encoding="utf-8"))
        array = np.load(array_file, mmap_mode="r", allow_pickle=False)
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
