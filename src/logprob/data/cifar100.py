"""CIFAR-100: 32 x 32 colour images of a hundred classes, as unsigned bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from logprob.data.base import Dataset, DataSource
from logprob.data.cifar_pickle import read_cifar_pickle
from logprob.data.files import FoundFiles, Origin, find_files, read_bytes
from logprob.data.splits import FILE_ORDER, batches, in_file_order, provenance, split_size
from logprob.data.stand_ins import generated_codes

RULE = "cifar100/1"
PIXELS, CLASSES, GROUPS = 3072, 100, 20
PARTS = ("train", "test")
PER_CLASS = {"train": 500, "test": 100}
FOLDERS = ("", "cifar100/", "CIFAR100/", "cifar-100/")
# of the official pickles, as widely used readers declare them
MD5 = {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
ORIGIN = Origin(
    "cifar100",
    "cifar-100-binary.tar.gz or cifar-100-python.tar.gz of Krizhevsky's page on CIFAR-100, unpacked",
    licence="none stated; cite Krizhevsky (2009)",
    substitute="Digits (8x8 images of digits, from scikit-learn)",
    expected=("50,000 + 10,000 images of 3x32x32 bytes, 500 + 100 of each class",),
)

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class CIFAR100(DataSource):
    """CIFAR-100 as 3,072 pixels 0..255 a row, in the order of the official files.

    ``Batch.x`` is ``(N, 3072)`` **uint8** (``categories=256``, ``image_shape=(3, 32, 32)``: all of red, then green,
    then blue, each row-major), ``Batch.target`` the fine labels 0..99, int64. The last ``valid`` training images are
    the validation split; nothing is shuffled.

    Files: the official ``cifar-100-binary/train.bin`` and ``test.bin``, or ``cifar-100-python/train`` and ``test``
    (pickles, read by an unpickler that can make nothing but arrays of bytes), below a root or ``cifar100/``.

    Checked at every load: shapes, and 500 training and 100 test images of each fine label; of the binary files, that
    every fine label belongs to one coarse label; of the pickles, the official MD5.

    Args:
        valid: a fraction below 1 of the training images, or a number of them. The default gives 40,000 + 10,000.

    Raises:
        ValueError: if ``valid`` is out of its range.

    References: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

    Example:
        >>> CIFAR100().stand_in(10).train.x.shape
        torch.Size([10, 3072])
    """

    valid: float = 0.2

    def __post_init__(self) -> None:
        split_size(self.valid, CLASSES * PER_CLASS["train"], "valid")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read the files, check and split them.

        Raises:
            MissingDataError: if the files are not found.
            CorruptDataError: if one cannot be read, or has not the declared content.
        """
        layouts = [
            [f"{folder}cifar-100-{kind}/{part}{end}" for part in PARTS]
            for kind, end in (("binary", ".bin"), ("python", ""))
            for folder in FOLDERS
        ]
        found = find_files(ORIGIN, layouts, root)
        (train, labels), (test, test_labels) = (_read(found, *pair) for pair in zip(found.names, PARTS, strict=True))
        count = split_size(self.valid, len(train), "valid")
        rows = in_file_order(train, test, count)
        return Dataset(
            "cifar100",
            *batches(rows, targets=in_file_order(labels, test_labels, count)),
            categories=256,
            image_shape=(3, 32, 32),
            provenance=provenance(RULE, rows, {"rule": FILE_ORDER}, files=found.describe()),
        )

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Generated images of the right shape and type; no file is needed."""
        return generated_codes("cifar100", rows, PIXELS, 256, np.uint8, image_shape=(3, 32, 32), labels=CLASSES)


def _read(found: FoundFiles, name: str, part: str) -> Part:
    """Pixels and fine labels of one file, which may be written to."""
    pixels, labels = _read_binary(found, name) if name.endswith(".bin") else _read_pickle(found, name, part)
    each = PER_CLASS[part]
    found.check(name, "shape", (CLASSES * each, PIXELS), pixels.shape)
    found.check(name, "shape of the labels", (CLASSES * each,), labels.shape)
    found.check(name, "range of the labels", True, bool(((labels >= 0) & (labels < CLASSES)).all()))
    counts = np.bincount(labels, minlength=CLASSES)
    found.check(name, "number of images of each label", (each, each), (int(counts.min()), int(counts.max())))
    return pixels.copy(), labels


def _read_binary(found: FoundFiles, name: str) -> Part:
    content = np.frombuffer(read_bytes(found.path(name)), dtype=np.uint8)
    found.check(name, "number of bytes beyond whole rows", 0, len(content) % (2 + PIXELS))
    rows = content.reshape(-1, 2 + PIXELS)  # the coarse label, the fine label, then the pixels
    pairs = np.unique(rows[:, :2], axis=0)
    found.check(name, "number of pairs of a coarse and a fine label", CLASSES, len(pairs))
    found.check(name, "number of coarse labels", GROUPS, len(np.unique(pairs[:, 0])))
    return rows[:, 2:], rows[:, 1].astype(np.int64)


def _read_pickle(found: FoundFiles, name: str, part: str) -> Part:
    md5 = hashlib.md5(found.path(name).read_bytes(), usedforsecurity=False).hexdigest()
    found.check(name, "MD5", MD5[part], md5)
    return read_cifar_pickle(found.path(name), labels="fine_labels")
