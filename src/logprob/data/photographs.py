"""Photographs out of a folder or an archive, made into small images of one size, block by block."""

from __future__ import annotations

import importlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from logprob.data.files import CorruptDataError

BLOCK = 1024  # images; 12 MB at 64 x 64
PHOTOGRAPH = (178, 218)  # width and height of the aligned photographs of CelebA
LARGEST = 2**20  # bytes; those of CelebA have about 7 kB

Named = tuple[str, bytes]


def folder_contents(folder: Path, names: Sequence[str]) -> Iterator[Named]:
    """The files of a folder with these names, in their order, each with its name for messages.

    Raises:
        CorruptDataError: if one is not there, or too large for a photograph.
    """
    for name in names:
        path = folder / name
        if not path.is_file():
            raise CorruptDataError(f"{path}: expected an image of this name, as the partition lists it")
        _check_size(path.stat().st_size, str(path))
        yield str(path), path.read_bytes()


def zip_contents(path: Path, names: Sequence[str]) -> Iterator[Named]:
    """The members of an archive with these names, whatever folder they are in; nothing is extracted.

    Raises:
        CorruptDataError: if one is not there or too large for a photograph, or the archive is broken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {Path(member.filename).name: member for member in archive.infolist() if not member.is_dir()}
            for name in names:
                if name not in members:
                    raise CorruptDataError(f"{path}: expected a member {name}, as the partition lists it")
                what = f"{path}: {members[name].filename}"
                _check_size(members[name].file_size, what)
                yield what, archive.read(members[name])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise CorruptDataError(f"{path} is not a whole zip archive: {error}") from error


def _check_size(size: int, what: str) -> None:
    if size > LARGEST:
        raise CorruptDataError(f"{what} has {size} bytes, too many for such a photograph")


def face_blocks(contents: Iterable[Named], size: int, crop: int | None) -> Iterator[NDArray[np.uint8]]:
    """Small images, channel-major ``(n, 3 size^2)``, some hundred a block.

    Args:
        contents: encoded photographs, each with its name for messages.
        size: side of the small images.
        crop: side of the square in the middle that is kept, or None for the whole photograph.

    Raises:
        CorruptDataError: if one is no RGB or grey JPEG of 178 x 218.
        ImportError: if Pillow is not installed.
    """
    block: list[NDArray[np.uint8]] = []
    for what, content in contents:
        block.append(_small(content, what, size, crop))
        if len(block) == BLOCK:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)


def middle(crop: int | None) -> tuple[int, int, int, int]:
    """Left, upper, right and lower border of what is kept of a photograph; odd pixels stay at the right and below.

    Example:
        >>> middle(148)
        (15, 35, 163, 183)
    """
    width, height = PHOTOGRAPH
    if crop is None:
        return 0, 0, width, height
    left, upper = (width - crop) // 2, (height - crop) // 2
    return left, upper, left + crop, upper + crop


def _small(content: bytes, what: str, size: int, crop: int | None) -> NDArray[np.uint8]:
    try:
        image_module = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ImportError("photographs need Pillow: pip install 'logprob[experiments]'") from error
    try:
        with image_module.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if image.size != PHOTOGRAPH or image.mode not in ("RGB", "L"):  # known before any pixel is unpacked
                raise ValueError(f"it is {image.mode} of {image.size[0]} x {image.size[1]}")
            bilinear = image_module.Resampling.BILINEAR
            small = image.convert("RGB").resize((size, size), bilinear, box=middle(crop))
            return np.asarray(small, dtype=np.uint8).transpose(2, 0, 1).reshape(-1)
    except (OSError, ValueError, SyntaxError, zlib.error) as error:
        width, height = PHOTOGRAPH
        raise CorruptDataError(f"{what}: expected an RGB or grey JPEG of {width} x {height}; {error}") from error
