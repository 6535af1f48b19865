"""CIFAR-10: 32 x 32 colour images of ten classes, as unsigned bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from logprob.data.base import Dataset, DataSource
from logprob.data.cifar_pickle import read_cifar_pickle
from logprob.data.files import CorruptDataError, FoundFiles, Origin, array_sha256, find_files, read_bytes
from logprob.data.names import check_name
from logprob.data.splits import FILE_ORDER, batches, in_file_order, provenance, split_size
from logprob.data.stand_ins import generated_codes

RULE = "cifar10/1"
PIXELS = 3072
ROWS = {"cifar10": (50_000, 10_000), "cifar10_subset": (4_000, 1_000)}
FOLDERS = ("", "cifar10/", "CIFAR10/", "cifar-10/")
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
SUBSET = ("cifar10_subset/cifar10_4k1k.npz", "cifar10_4k1k.npz")
# of the pickled batches, as their authors give them
MD5 = (
    "c99cafc152244af753f735de768cd75f",
    "d4bba439e000b95fd0a9bffe97cbabec",
    "54ebc095f3ab1f0389bbae665268c751",
    "634d18415352ddfa80567beed471001a",
    "482c414d41f54cd18b22e5b47cb7c3cb",
    "40351d587109b95175f43aff81a1287e",
)
# Number of leading rows, then SHA-256 of their pixels (channel-major) and of their labels as bytes. The subset is
# the beginning of the whole set, so that one table serves both, in every layout.
BEGINNINGS = {
    "train": (
        4_000,
        "28afc872aa454f5edfb44b9dc53187ac9e792b2e75c81b091face3432c78e91b",
        "2c365f60663d4e0eae47b2e7e1f85bef4375b295095eff8ce46a32be9415473c",
    ),
    "test": (
        1_000,
        "f167149948fc8fe0b9a76ba86421e987817f98b63761ba9415c5d42664d51f03",
        "636a087e604331a0b9dafc94b6e9ade0c9cec72c4400d12473ccdb3e264474c1",
    ),
}

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class CIFAR10(DataSource):
    """CIFAR-10 as 3,072 pixels 0..255 a row, in the order of the official files.

    ``Batch.x`` is ``(N, 3072)`` **uint8** (``categories=256``, ``image_shape=(3, 32, 32)``: all of red, then green,
    then blue, each row-major), ``Batch.target`` the labels 0..9, int64. Bytes take an eighth of the memory of int64
    codes; whoever computes with them casts a batch. The last ``valid`` training images are the validation split;
    nothing is shuffled.

    Files of "cifar10": the official ``cifar-10-batches-bin/data_batch_1.bin`` and its companions, or
    ``cifar-10-batches-py/data_batch_1`` and its companions (pickles, read by an unpickler that can make nothing but
    arrays of bytes), below a root or ``cifar10/``. Of "cifar10_subset", the first 4,000 training and 1,000 test
    images: ``cifar10_subset/cifar10_4k1k.npz`` with arrays ``train_images`` ``(4000, 32, 32, 3)``, ``train_labels``,
    ``test_images`` and ``test_labels``.

    Checked at every load: shapes, counts, the range of the labels, the SHA-256 of the first 4,000 and 1,000 images
    and labels, and the official MD5 of each pickle.

    Args:
        name: "cifar10" or "cifar10_subset".
        valid: a fraction below 1 of the training images, or a number of them. The default gives 40,000 + 10,000.

    Raises:
        ValueError: if the name is unknown, or ``valid`` out of its range.

    References: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

    Example:
        >>> CIFAR10("cifar10_subset").stand_in(10).train.x.dtype
        torch.uint8
    """

    name: str = "cifar10"
    valid: float = 0.2

    def __post_init__(self) -> None:
        check_name("CIFAR set", self.name, ROWS)
        split_size(self.valid, ROWS[self.name][0], "valid")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read the files, check and split them.

        Raises:
            MissingDataError: if the files are not found.
            CorruptDataError: if one cannot be read, or has not the declared content.
        """
        found = find_files(self._origin(), self._layouts(), root)
        (train, labels), (test, test_labels) = self._read(found)
        count = split_size(self.valid, len(train), "valid")
        rows = in_file_order(train, test, count)
        return Dataset(
            self.name,
            *batches(rows, targets=in_file_order(labels, test_labels, count)),
            categories=256,
            image_shape=(3, 32, 32),
            provenance=provenance(
                RULE,
                rows,
                {"rule": FILE_ORDER},
                files=found.describe(),
            ),
        )

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Generated images of the right shape and type; no file is needed."""
        return generated_codes(self.name, rows, PIXELS, 256, np.uint8, image_shape=(3, 32, 32), labels=10)

    def _origin(self) -> Origin:
        train, test = ROWS[self.name]
        source = "cifar-10-binary.tar.gz or cifar-10-python.tar.gz of Krizhevsky's page on CIFAR-10, unpacked"
        if self.name == "cifar10_subset":
            source = "made from the whole set: the first 4,000 images of data_batch_1 and 1,000 of test_batch"
        return Origin(
            self.name,
            source,
            licence="none stated; cite Krizhevsky (2009)",
            substitute="Digits (8x8 images of digits, from scikit-learn)",
            expected=(f"{train:,} + {test:,} images of 3x32x32 bytes",),
        )

    def _layouts(self) -> list[list[str]]:
        if self.name == "cifar10_subset":
            return [[file] for file in SUBSET]
        return [
            [f"{folder}cifar-10-batches-{kind}/{batch}{end}" for batch in BATCHES]
            for kind, end in (("bin", ".bin"), ("py", ""))
            for folder in FOLDERS
        ]

    def _read(self, found: FoundFiles) -> tuple[Part, Part]:
        """Pixels and labels of the training and of the test images."""
        if self.name == "cifar10_subset":
            parts = _read_subset(found)
        else:
            *train, test = (_read_batch(found, i) for i in range(len(BATCHES)))
            parts = (_joined(train), _joined([test]))
        for kind, name, part in zip(("train", "test"), (found.names[0], found.names[-1]), parts, strict=True):
            _check_beginning(found, name, kind, part)
        return parts


def _read_batch(found: FoundFiles, index: int) -> Part:
    name = found.names[index]
    path = found.path(name)
    if not name.endswith(".bin"):
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        found.check(name, "MD5", MD5[index], md5)
        pixels, labels = read_cifar_pickle(path)
    else:
        content = np.frombuffer(read_bytes(path), dtype=np.uint8)
        found.check(name, "number of bytes beyond whole rows", 0, len(content) % (1 + PIXELS))
        rows = content.reshape(-1, 1 + PIXELS)  # a label, then the pixels
        pixels, labels = rows[:, 1:], rows[:, 0].astype(np.int64)
    train, test = ROWS["cifar10"]
    found.check(name, "shape", (train // 5 if index < 5 else test, PIXELS), pixels.shape)
    found.check(name, "shape of the labels", (len(pixels),), labels.shape)
    found.check(name, "range of the labels", (0, 9), _range(labels))
    return pixels, labels


def _joined(parts: list[Part]) -> Part:
    pixels, labels = zip(*parts, strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def _read_subset(found: FoundFiles) -> tuple[Part, Part]:
    (name,) = found.names
    try:
        with np.load(found.path(name), allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
        train, test = ((arrays[f"{kind}_images"], arrays[f"{kind}_labels"]) for kind in ("train", "test"))
    except (ValueError, KeyError, EOFError, OSError, BadZipFile) as error:
        reason = f"expected arrays train_images, train_labels, test_images and test_labels; {error}"
        raise CorruptDataError(f"{found.path(name)}: {reason}") from error
    for (images, labels), rows in zip((train, test), ROWS["cifar10_subset"], strict=True):
        found.check(name, "type and shape of images", ("uint8", (rows, 32, 32, 3)), (str(images.dtype), images.shape))
        found.check(name, "shape of the labels", (rows,), labels.shape)
    return _channels_first(*train), _channels_first(*test)


def _channels_first(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Part:
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)
    return pixels, labels.astype(np.int64)


def _range(labels: NDArray[np.int64]) -> tuple[int, int]:
    """0 and 9 for labels that stay within; not every file need have every class."""
    return min(0, int(labels.min())), max(9, int(labels.max()))


def _check_beginning(found: FoundFiles, name: str, kind: str, part: Part) -> None:
    count, *declared = BEGINNINGS[kind]
    pixels, labels = part[0][:count], part[1][:count].astype(np.uint8)
    for what, array, sha256 in zip(("images", "labels"), (pixels, labels), declared, strict=True):
        found.check(name, f"SHA-256 of the first {count} {what}", sha256, array_sha256(array))
