"""Where data files are looked for, what is said when they are missing, and how a wrong one is refused.

Nothing is ever downloaded. A folder named by the user, by argument or by environment variable, is only read.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

ENVIRONMENT_VARIABLE = "LOGPROB_DATA"
GZIP_MAGIC = b"\x1f\x8b"


class MissingDataError(FileNotFoundError):
    """Files of a data set are not in any folder searched; the message says how to get them."""


class CorruptDataError(ValueError):
    """A file is there, but is not what it is declared to be; it was not used."""


@dataclass(frozen=True)
class Origin:
    """What a person needs to know to get a data set.

    Args:
        dataset: its name.
        source: the public place it comes from.
        licence: one line.
        substitute: a data source of this package that needs no file, or None.
        expected: size and hash of the content where known, one line each.
    """

    dataset: str
    source: str
    licence: str = "see the source"
    substitute: str | None = None
    expected: tuple[str, ...] = ()


def cache_dir() -> Path:
    """The package's own folder: ``$XDG_CACHE_HOME/logprob``, by default ``~/.cache/logprob``."""
    base = os.environ.get("XDG_CACHE_HOME")
    if not base and sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "logprob"


def search_roots(root: str | Path | None = None) -> list[Path]:
    """Folders searched, in this order: the argument, ``LOGPROB_DATA`` (one or a path list), the cache folder.

    Example:
        >>> search_roots("folder")[0]
        PosixPath('folder')
    """
    return list(dict.fromkeys([*_named_roots(root), cache_dir()]))


def _named_roots(root: str | Path | None) -> list[Path]:
    """The folders that the user named, and that are therefore only read."""
    named = [] if root is None else [Path(root).expanduser()]
    variable = os.environ.get(ENVIRONMENT_VARIABLE, "")
    return named + [Path(part).expanduser() for part in variable.split(os.pathsep) if part]


@dataclass(frozen=True)
class FoundFiles:
    """All files of one data set, in one folder.

    Args:
        origin: the data set they belong to.
        folder: the root they were found under.
        names: their paths below it.
        own: True if the folder is the package's own cache, and was not named by the user.
    """

    origin: Origin
    folder: Path
    names: tuple[str, ...]
    own: bool

    def path(self, name: str) -> Path:
        """Full path of one file."""
        return self.folder / name

    def describe(self) -> list[dict[str, Any]]:
        """Name, size in bytes and SHA-256 of every file, for the provenance; folders are left out."""
        return [
            {
                "name": Path(name).name if Path(name).is_absolute() else name,
                "bytes": self.path(name).stat().st_size,
                "sha256": file_sha256(self.path(name)),
            }
            for name in self.names
        ]

    def check(self, name: str, what: str, expected: object, found: object) -> None:
        """Refuse the file if ``found`` is not ``expected``.

        A wrong file in the package's own cache is renamed to ``<name>.corrupt``; a user's folder is never
        touched.

        Raises:
            CorruptDataError: names the file, what was expected and what was found.
        """
        if found == expected:
            return
        path, fate = self.path(name), "it was left as it is"
        if self.own:
            path.replace(path.with_name(path.name + ".corrupt"))
            fate = f"it was renamed to {path.name}.corrupt"
        raise CorruptDataError(
            f"{self.origin.dataset}: {what} of {path} is not as declared, so the file is not used; {fate}\n"
            f"  expected {expected}\n  found    {found}"
        )


def find_files(origin: Origin, layouts: Iterable[Sequence[str]], root: str | Path | None = None) -> FoundFiles:
    """The first folder that holds every file of one of the layouts.

    Args:
        origin: the data set, for the error.
        layouts: alternatives; each lists all files of the data set, as paths below a root.
        root: searched before the folders of :func:`search_roots`.

    Raises:
        MissingDataError: with the names looked for, every folder searched, and how to get the files.
    """
    alternatives = [tuple(layout) for layout in layouts]
    roots, named = search_roots(root), {folder.resolve() for folder in _named_roots(root)}
    for folder in roots:
        for layout in alternatives:
            if all(os.path.isfile(folder / name) for name in layout):
                return FoundFiles(origin, folder, layout, own=folder.resolve() not in named)
    raise MissingDataError(_missing(origin, alternatives, roots))


def _missing(origin: Origin, layouts: list[tuple[str, ...]], roots: list[Path]) -> str:
    lines = [f"data set {origin.dataset!r} is not on this machine (nothing is downloaded)"]
    lines.append(f"  looked for: {', '.join(layouts[0])}")
    if len(layouts) > 1:
        lines.append(f"  or, and the rest likewise: {', '.join(layout[0] for layout in layouts[1:])}")
    lines += [f"  in: {folder}{'' if folder.is_dir() else ' (no such folder)'}" for folder in roots]
    lines += [f"  incomplete: {text}" for text in _incomplete(layouts, roots)]
    lines.append(f"  get it: {origin.source}; put the files under such names into one of the folders,")
    lines.append(f"    or set {ENVIRONMENT_VARIABLE} to a folder that has them (read-only is fine)")
    lines += [f"  expected: {text}" for text in origin.expected]
    lines.append(f"  licence: {origin.licence}")
    if origin.substitute:
        lines.append(f"  without the files, use: {origin.substitute}")
    return "\n".join(lines)


def _incomplete(layouts: list[tuple[str, ...]], roots: list[Path]) -> list[str]:
    texts = []
    for folder in roots:
        for layout in layouts:
            absent = [name for name in layout if not os.path.isfile(folder / name)]
            if len(absent) < len(layout):
                texts.append(f"{folder} has some, but not {', '.join(absent)}")
    return texts


@contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Open for reading, through gzip if the first bytes say so, whatever the name.

    Raises:
        CorruptDataError: if the gzip stream is broken or cut short.
    """
    with path.open("rb") as raw:
        zipped = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if zipped else raw
        try:
            yield cast(IO[bytes], stream)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise CorruptDataError(f"{path} is not a whole gzip file: {error}") from error


def read_bytes(path: Path) -> bytes:
    """The decompressed content of a file.

    Raises:
        CorruptDataError: if the gzip stream is broken or cut short.
    """
    with open_binary(path) as stream:
        return stream.read()


def file_sha256(path: Path) -> str:
    """SHA-256 of the file as it lies there, compressed or not."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def array_sha256(array: NDArray[Any]) -> str:
    """SHA-256 of the array's bytes in C order: the canonical content, however the file around it was packed.

    Example:
        >>> array_sha256(np.zeros(2, dtype=np.uint8))[:16]
        '96a296d224f285c6'
    """
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
