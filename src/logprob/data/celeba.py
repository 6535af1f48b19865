"""CelebA: aligned photographs of faces, cropped, made small once, and mapped into memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logprob.data.base import Dataset, DataSource
from logprob.data.cache import cached_blocks
from logprob.data.files import CorruptDataError, FoundFiles, Origin, file_sha256, find_files, read_bytes
from logprob.data.photographs import PHOTOGRAPH, face_blocks, folder_contents, zip_contents
from logprob.data.splits import Splits, batches, provenance
from logprob.data.stand_ins import generated_codes

RULE = "celeba/1"
ROWS = (162_770, 19_867, 19_962)
FIRST = "000001.jpg"
# Images, then the partition: as torchvision keeps them, as the authors' drive does, and as Kaggle does.
LAYOUTS = (
    (f"img_align_celeba/{FIRST}", "list_eval_partition.txt"),
    ("img_align_celeba.zip", "list_eval_partition.txt"),
    ("Img/img_align_celeba.zip", "Eval/list_eval_partition.txt"),
    (f"img_align_celeba/img_align_celeba/{FIRST}", "list_eval_partition.csv"),
)


@dataclass(frozen=True)
class CelebA(DataSource):
    """Faces as ``3 size^2`` pixels 0..255 a row, in the order and the split of the official partition.

    ``Batch.x`` is ``(N, 3 size^2)`` **uint8** (``categories=256``, ``image_shape=(3, size, size)``, all of red first),
    mapped from the cache folder, so that only the rows in use are in memory: 162,770 train, 19,867 validation and
    19,962 test. From each photograph of 178 x 218 the square of ``crop`` pixels in its middle is cut out and made
    smaller by Pillow's bilinear filter, which widens as the image shrinks (antialiasing). ``crop=None`` takes the whole
    photograph, which makes faces wider than they are; so did the published experiments, without antialiasing.

    Files, below a root or ``celeba/`` or ``CelebA/``: ``list_eval_partition.txt`` and the folder ``img_align_celeba``
    of JPEGs or ``img_align_celeba.zip``; or ``Eval/list_eval_partition.txt`` and ``Img/img_align_celeba.zip``; or
    ``list_eval_partition.csv`` and ``img_align_celeba/img_align_celeba``. Needs Pillow. Nothing is extracted. The
    number of images in each split and the size of every photograph are checked; no hash is declared.

    The first load reads every photograph (minutes) and takes 2.5 GB (size 64) or 0.6 GB (32) of the cache folder.
    Without space there the images are held in memory.

    Args:
        size: pixels of a side, usually 64 or 32.
        crop: side of the square that is cut out, up to 178; 148 is usual. None: the whole photograph.

    Raises:
        ValueError: if an argument is out of its range.

    References: Liu, Luo, Wang and Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015.

    Example:
        >>> CelebA().stand_in(10).train.x.shape
        torch.Size([10, 12288])
    """

    size: int = 64
    crop: int | None = 148

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")
        if self.crop is not None and not 0 < self.crop <= min(PHOTOGRAPH):
            raise ValueError(f"crop must be from 1 to {min(PHOTOGRAPH)} or None, got {self.crop}")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read the files, or what was kept of them, and split.

        Raises:
            MissingDataError: if the files are not found.
            CorruptDataError: if one cannot be read, or is not what it is declared to be.
            ImportError: if Pillow is needed and not installed.
        """
        folders = ("celeba/", "CelebA/", "")
        layouts = [[folder + name for name in layout] for layout in LAYOUTS for folder in folders]
        found = find_files(ORIGIN, layouts, root)
        names = _partition(found)
        files = _described(found)
        key = {"rule": RULE, "source": [e["sha256"] for e in files], "size": self.size, "crop": self.crop}
        rows = cached_blocks(key, lambda: self._blocks(found, names))
        splits = Splits(*np.split(rows, np.cumsum([len(part) for part in names])[:2]))
        return Dataset(
            self._name,
            *batches(splits),
            categories=256,
            image_shape=(3, self.size, self.size),
            provenance=provenance(RULE, splits, {"rule": "the official partition"}, files=files, crop=self.crop),
        )

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Generated images of the right shape and type; no file is needed."""
        return generated_codes(self._name, rows, 3 * self.size**2, 256, np.uint8, image_shape=(3, self.size, self.size))

    @property
    def _name(self) -> str:
        return f"celeba{self.size}"

    def _blocks(self, found: FoundFiles, names: list[list[str]]) -> tuple[tuple[int, int], Iterator[NDArray[np.uint8]]]:
        images, ordered = _images(found), [name for part in names for name in part]
        contents = (zip_contents if images.is_file() else folder_contents)(images, ordered)
        return (len(ordered), 3 * self.size**2), face_blocks(contents, self.size, self.crop)


ORIGIN = Origin(
    "celeba",
    "Large-scale CelebFaces Attributes (CelebA) Dataset, its authors' page: img_align_celeba.zip and "
    "list_eval_partition.txt",
    licence="non-commercial research only; no redistribution of the images",
    substitute="CelebA(...).stand_in(), generated",
    expected=(f"{sum(ROWS):,} JPEGs of 178x218: {ROWS[0]:,} train, {ROWS[1]:,} validation, {ROWS[2]:,} test",),
)


def _images(found: FoundFiles) -> Path:
    """The archive, or the folder of the JPEGs."""
    path = found.path(found.names[0])
    return path if path.suffix == ".zip" else path.parent


def _partition(found: FoundFiles) -> list[list[str]]:
    """Names of the JPEGs of each split, in the order of the file."""
    name = found.names[1]
    lines = read_bytes(found.path(name)).decode("ascii", errors="replace").replace(",", " ").splitlines()
    parts: list[list[str]] = [[], [], []]
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words and words != ["image_id", "partition"]:
            if not (len(words) == 2 and words[0] == Path(words[0]).name and words[1] in ("0", "1", "2")):
                what = f"{found.path(name)}: line {number}"
                raise CorruptDataError(f"{what}: expected the name of a file and 0, 1 or 2, got {line!r}")
            parts[int(words[1])].append(words[0])
    found.check(name, "number of train, validation and test images", ROWS, tuple(map(len, parts)))
    return parts


def _described(found: FoundFiles) -> list[dict[str, Any]]:
    """Of the archive and the partition their content; of a folder the names and sizes, as reading all takes long."""
    images = _images(found)
    if images.is_file():
        return found.describe()
    entries = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(images) if entry.is_file())
    listing = hashlib.sha256("\n".join(f"{name} {size}" for name, size in entries).encode()).hexdigest()
    partition = found.path(found.names[1])
    total = sum(size for _, size in entries)
    return [
        {"name": images.name, "bytes": total, "sha256": listing, "hash_of": "names and sizes"},
        {"name": partition.name, "bytes": partition.stat().st_size, "sha256": file_sha256(partition)},
    ]
