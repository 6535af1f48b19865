"""Image sets in the idx format: MNIST and Fashion-MNIST, as integer pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from logprob.data.base import Dataset, DataSource
from logprob.data.files import FoundFiles, Origin, array_sha256, find_files
from logprob.data.idx import read_idx
from logprob.data.names import check_name
from logprob.data.splits import FILE_ORDER, batches, in_file_order, provenance, split_size
from logprob.data.stand_ins import generated_codes

RULE = "idx-images/1"
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class _Set:
    """Folders of one set, its origin, and the SHA-256 of its decompressed arrays (None: unknown)."""

    folders: tuple[str, ...]
    origin: Origin
    arrays: tuple[str | None, ...]


_SETS = {
    "mnist": _Set(
        ("mnist", "MNIST/raw", "MNIST"),
        Origin(
            "mnist",
            "the four idx files of the MNIST database (LeCun, Cortes, Burges), as torchvision keeps them too",
            licence="CC BY-SA 3.0, as usually stated",
            substitute="Digits (8x8 images of digits, from scikit-learn)",
            expected=("60,000 + 10,000 images of 28x28 bytes; train-images-idx3-ubyte.gz has 9,912,422 bytes",),
        ),
        (
            "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
            "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
            "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        ),
    ),
    "fashion_mnist": _Set(
        ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
        Origin(
            "fashion_mnist",
            "data/fashion of the repository zalandoresearch/fashion-mnist",
            licence="MIT (Zalando)",
            substitute="Digits (8x8 images of digits, from scikit-learn)",
            expected=("60,000 + 10,000 images of 28x28 bytes",),
        ),
        (
            None,
            "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
            None,
            "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
        ),
    ),
}


@dataclass(frozen=True)
class IdxImages(DataSource):
    """28 x 28 grey images as 784 integer pixels 0..255 a row, in the order of the official files.

    ``Batch.x`` is ``(N, 784)`` int64 (``categories=256``, ``image_shape=(1, 28, 28)``, row-major),
    ``Batch.target`` the labels 0..9. The last ``valid`` training images are the validation split; nothing is
    shuffled.

    Files: ``<name>/train-images-idx3-ubyte`` and its three companions, with or without ``.gz``; torchvision's
    ``MNIST/raw`` is found too. Declared SHA-256 of the decompressed arrays are checked at every load.

    Args:
        name: "mnist" or "fashion_mnist".
        valid: number of validation images, or a fraction below 1 of the training file.

    Raises:
        ValueError: if the name is unknown, or ``valid`` out of its range.

    Example:
        >>> IdxImages("mnist", valid=0.1)
        IdxImages(name='mnist', valid=0.1)
    """

    name: str = "mnist"
    valid: float = 10_000

    def __post_init__(self) -> None:
        check_name("image set", self.name, _SETS)
        split_size(self.valid, 60_000, "valid")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read the four files, check and split them.

        Raises:
            MissingDataError: if the files are not found.
            CorruptDataError: if one is no idx file, has a wrong shape, or not the declared content.
        """
        known = _SETS[self.name]
        layouts = [[f"{folder}/{file}{end}" for file in FILES] for folder in known.folders for end in (".gz", "")]
        found = find_files(known.origin, layouts, root)
        train_images, train_labels, test_images, test_labels = _read_checked(found, known.arrays)
        count = split_size(self.valid, len(train_images), "valid")
        rows, labels = (
            in_file_order(train, test, count)
            for train, test in ((train_images, test_images), (train_labels, test_labels))
        )
        pixels = [part.reshape(len(part), -1).astype(np.int64) for part in rows]
        return Dataset(
            self.name,
            *batches(pixels, targets=[part.astype(np.int64) for part in labels]),
            categories=256,
            image_shape=(1, 28, 28),
            provenance=provenance(
                RULE,
                rows,
                {"rule": FILE_ORDER},
                files=found.describe(),
                checked_arrays=[name for name, sha in zip(found.names, known.arrays, strict=True) if sha],
            ),
        )

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Generated images of the right shape; no file is needed."""
        return generated_codes(self.name, rows, 784, categories=256, image_shape=(1, 28, 28), labels=10)


def _read_checked(found: FoundFiles, hashes: tuple[str | None, ...]) -> list[NDArray[np.uint8]]:
    """The four arrays, each of the right shape and, where its hash is declared, of the right content."""
    arrays = [read_idx(found.path(name)) for name in found.names]
    for name, array, expected in zip(found.names, arrays, hashes, strict=True):
        found.check(name, "shape of a row", (28, 28) if "idx3" in name else (), array.shape[1:])
        if expected is not None:
            found.check(name, "SHA-256 of the decompressed array", expected, array_sha256(array))
    for images, labels in ((0, 1), (2, 3)):
        found.check(found.names[labels], "number of labels", len(arrays[images]), len(arrays[labels]))
    return arrays
