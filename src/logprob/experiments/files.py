"""Files that are either written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from logprob.experiments.errors import RunError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write ``path`` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"cannot write {path}: {reason}; what was there before is intact") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in ``folder``; the lock goes with the process, however it ends.

    Raises:
        RunError: if another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        yield
        return
    with writing(folder):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{folder} is being trained by another process") from None
        yield
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, or leave it as it was.

    Raises:
        RunError: if the file cannot be written: read-only folder, full disk.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` outlive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def to_json(value: Any) -> Any:
    """Strict JSON values: a number that is not finite becomes its name, which ``float()`` reads.

    Example:
        >>> to_json({"a": float("-inf"), "b": (1, Path("x"))})
        {'a': '-inf', 'b': [1, 'x']}
    """
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) or hasattr(value, "item"):
        number = value if isinstance(value, float) else value.item() if value.ndim == 0 else value.tolist()
        if not isinstance(number, float):
            return to_json(number)
        return number if math.isfinite(number) else str(number)
    return str(value)


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON, atomically."""
    text = json.dumps(to_json(value), indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunError: if the file is missing, truncated or no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"no file {path}") from None
    except (ValueError, OSError) as error:
        raise RunError(f"{path} is damaged ({error})") from None
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged (not a JSON object)")
    return value
