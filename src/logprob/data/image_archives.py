"""Images of one size, block by block, out of ``.npz`` batches and ``.tar`` archives of PNGs.

Nothing is extracted to the disk, and only one block of images is in memory at a time.
"""

from __future__ import annotations

import importlib
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logprob.data.files import CorruptDataError

BLOCK = 4096  # images; 50 MB at 64 x 64
LARGEST_PNG = 2**20  # bytes; a colour image of 64 x 64 has 12 kB before it is packed


def npz_rows(path: Path) -> int:
    """Number of rows of the array ``data``, from its header.

    Raises:
        CorruptDataError: if there is no such array of unsigned bytes.
    """
    with _refused(path), zipfile.ZipFile(path) as archive, archive.open("data.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        if len(shape) != 2 or dtype != np.uint8:
            raise ValueError(f"data is {dtype} of shape {shape}")
        return int(shape[0])


def npz_blocks(path: Path, size: int) -> Iterator[NDArray[np.uint8]]:
    """The array ``data`` as one block, ``(N, 3 size^2)``.

    Raises:
        CorruptDataError: if it is not of that shape.
    """
    rows = _npz_array(path, "data")
    if rows.dtype != np.uint8 or rows.shape[1:] != (3 * size * size,):
        raise CorruptDataError(f"{path}: expected uint8 rows of {3 * size * size}, got {rows.dtype} {rows.shape}")
    yield rows


def npz_labels(path: Path) -> NDArray[np.int64]:
    """The array ``labels``, counted from 1 in the file and from 0 here.

    Raises:
        CorruptDataError: if they are not whole numbers from 1 to 1000.
    """
    labels = _npz_array(path, "labels")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not ((labels >= 1) & (labels <= 1000)).all():
        raise CorruptDataError(f"{path}: expected labels from 1 to 1000, got {labels.dtype} {labels.shape}")
    return labels.astype(np.int64) - 1


def _npz_array(path: Path, name: str) -> NDArray[Any]:
    with _refused(path), np.load(path, allow_pickle=False) as content:
        array: NDArray[Any] = content[name]
        return array


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise CorruptDataError(f"{path}: expected an npz of plain arrays data and labels; {error}") from error


def tar_rows(path: Path) -> int:
    """Number of PNGs.

    Raises:
        CorruptDataError: if it is no whole archive.
    """
    return sum(1 for _ in _pngs(path))


def tar_blocks(path: Path, size: int) -> Iterator[NDArray[np.uint8]]:
    """The PNGs in the order of the archive, channel-major ``(n, 3 size^2)``, some thousand a block.

    A grey image becomes one of three equal channels.

    Raises:
        CorruptDataError: if it is no whole archive, or a member is no RGB or grey image of that size.
        ImportError: if Pillow is not installed.
    """
    block: list[NDArray[np.uint8]] = []
    for archive, member in _pngs(path):
        stream = archive.extractfile(member)
        assert stream is not None  # it is a regular file
        block.append(_decoded(stream.read(), f"{path}: {member.name}", size))
        if len(block) == BLOCK:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)


def _pngs(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Regular members that are called PNGs; links and folders are passed over."""
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                if member.isreg() and member.name.lower().endswith(".png"):
                    if member.size > LARGEST_PNG:
                        raise CorruptDataError(f"{path}: {member.name} has {member.size} bytes, too many for a PNG")
                    yield archive, member
                archive.members = []  # type: ignore[attr-defined]  # else a million descriptions stay in memory
    except tarfile.TarError as error:
        raise CorruptDataError(f"{path} is not a whole tar archive: {error}") from error


def _decoded(content: bytes, what: str, size: int) -> NDArray[np.uint8]:
    try:
        image_module = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ImportError("PNG archives need Pillow: pip install 'logprob[experiments]'") from error
    try:
        with image_module.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size != (size, size) or image.mode not in ("RGB", "L"):  # known before any pixel is unpacked
                raise ValueError(f"it is {image.mode} of {image.size[0]} x {image.size[1]}")
            return np.asarray(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1).reshape(-1)
    except (OSError, ValueError, SyntaxError, zlib.error) as error:
        raise CorruptDataError(f"{what}: expected an RGB or grey image of {size} x {size}; {error}") from error
