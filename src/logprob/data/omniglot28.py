"""Omniglot in 28 x 28 grey pixels, as the papers on variational autoencoders share it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from logprob.data.base import Dataset, DataSource
from logprob.data.files import CorruptDataError, FoundFiles, Origin, find_files
from logprob.data.splits import Splits, batches, provenance, split_size
from logprob.data.stand_ins import generated_codes

RULE = "omniglot28/1"
SIDE, ROWS, ALPHABETS = 28, (24_345, 8_070), 50
ARRAYS = (("data", "target"), ("testdata", "testtarget"))

Part = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Omniglot28(DataSource):
    """The Omniglot of ``chardata.mat``: 784 grey levels in [0, 1] a row, ink being 1.

    ``Batch.x`` is ``(N, 784)`` float32 (``image_shape=(1, 28, 28)``, row-major; the file holds columns),
    ``Batch.target`` the alphabet 0..49. Of the 24,345 training images ``RandomState(seed).permutation(24345)[:valid]``
    validate; the 8,070 test images are those of the file. Papers draw binary images of it:
    :class:`SampledBinaryImages`.

    File: ``chardata.mat`` below a root or ``omniglot/`` or ``OMNIGLOT/``, with arrays ``data`` ``(784, 24345)``,
    ``target`` ``(50, 24345)``, ``testdata`` and ``testtarget``. No hash of it is declared.

    Args:
        valid: number of validation images, or a fraction below 1; 1,345 are usual.
        seed: of their choice.

    Raises:
        ValueError: if ``valid`` is out of its range.

    References: Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016.

    Example:
        >>> Omniglot28().stand_in(10).train.x.dtype
        torch.float32
    """

    valid: float = 1_345
    seed: int = 0

    def __post_init__(self) -> None:
        split_size(self.valid, ROWS[0], "valid")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read the file, check and split.

        Raises:
            MissingDataError: if the file is not found.
            CorruptDataError: if it cannot be read, or has not the declared shapes.
        """
        found = find_files(ORIGIN, [[f"{folder}chardata.mat"] for folder in ("omniglot/", "OMNIGLOT/", "")], root)
        (train, labels), (test, test_labels) = _read(found)
        chosen = np.zeros(ROWS[0], dtype=bool)
        chosen[RandomState(self.seed).permutation(ROWS[0])[: split_size(self.valid, ROWS[0], "valid")]] = True
        rows = Splits(train[~chosen], train[chosen], test)
        split = {"rule": "RandomState(seed).permutation: valid; test as in the file", "seed": self.seed}
        return Dataset(
            "omniglot28",
            *batches(rows, [labels[~chosen], labels[chosen], test_labels]),
            image_shape=(1, SIDE, SIDE),
            provenance=provenance(RULE, rows, split, files=found.describe()),
        )

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Generated images of the right shape and type; no file is needed."""
        grey = generated_codes("omniglot28", rows, SIDE**2, 256, image_shape=(1, SIDE, SIDE), labels=ALPHABETS)
        train, valid, test = (part._replace(x=part.x.float() / 255) for part in (grey.train, grey.valid, grey.test))
        return replace(grey, train=train, valid=valid, test=test, categories=None)


ORIGIN = Origin(
    "omniglot28",
    "datasets/OMNIGLOT/chardata.mat of the repository yburda/iwae",
    licence="MIT (brendenlake/omniglot, of which it is made)",
    substitute="Digits (8x8 images of digits, from scikit-learn)",
    expected=(f"{ROWS[0]:,} + {ROWS[1]:,} images of 28x28 grey levels",),
)


def _read(found: FoundFiles) -> list[Part]:
    (name,) = found.names
    arrays = _loaded(found.path(name), [key for pair in ARRAYS for key in pair])
    parts = []
    for (pixels, alphabet), rows in zip(ARRAYS, ROWS, strict=True):
        found.check(name, f"shape of {pixels}", (SIDE**2, rows), arrays[pixels].shape)
        found.check(name, f"shape of {alphabet}", (ALPHABETS, rows), arrays[alphabet].shape)
        low, high = arrays[pixels].min(), arrays[pixels].max()
        found.check(name, f"range of {pixels}", (0.0, 1.0), (min(0.0, float(low)), max(1.0, float(high))))
        upright = arrays[pixels].T.reshape(rows, SIDE, SIDE).transpose(0, 2, 1)
        parts.append((upright.reshape(rows, -1).astype(np.float32), arrays[alphabet].argmax(axis=0).astype(np.int64)))
    return parts


def _loaded(path: Path, names: list[str]) -> dict[str, Any]:
    from scipy.io import loadmat, matlab  # only here, as nothing else of the package reads MATLAB's files

    wrong = (ValueError, TypeError, KeyError, EOFError, OSError, NotImplementedError, zlib.error, matlab.MatReadError)
    try:
        content = loadmat(path, variable_names=names)
        return {name: np.asarray(content[name], dtype=np.float64) for name in names}
    except wrong as error:
        raise CorruptDataError(f"{path}: expected a MATLAB file with arrays {', '.join(names)}; {error}") from error
