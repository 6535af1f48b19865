"""Real data that comes with scikit-learn: what examples and tests use where no file may be needed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from logprob.data.base import Dataset, DataSource
from logprob.data.splits import Splits, batches, provenance, seeded_split, split_size, standardisation

RULE = "bundled/1"
DIGITS = 1797


def _load(function: str) -> tuple[NDArray[np.float64], NDArray[np.int64], dict[str, Any]]:
    """Rows, labels, and where they come from; scikit-learn is imported here, by whoever asks for its data."""
    try:
        sklearn = importlib.import_module("sklearn")
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise ImportError(f"{function} is scikit-learn's data: pip install 'logprob[experiments]'") from error
    rows, labels = getattr(datasets, function)(return_X_y=True)
    return (
        rows,
        labels.astype(np.int64),
        {"name": f"sklearn.datasets.{function}", "version": sklearn.__version__},
    )


def _load_split(function: str, sizes: tuple[float, float], seed: int) -> tuple[Splits, Splits, dict[str, Any]]:
    """Rows and labels of each split, and what the provenance says of them."""
    rows, labels, source = _load(function)
    valid, test = (split_size(size, len(rows), what) for size, what in zip(sizes, ("valid", "test"), strict=True))
    index = seeded_split(len(rows), valid, test, seed)
    rule = {"rule": "RandomState(seed).permutation: valid, test, train", "seed": seed}
    return index.of(rows), index.of(labels), {"split": rule, "files": [source]}


@dataclass(frozen=True)
class _Bundled(DataSource):
    """Sizes of the splits: fractions below 1, or numbers of rows."""

    valid: float = 0.1
    test: float = 0.2
    seed: int = 42


@dataclass(frozen=True)
class _Measurements(_Bundled):
    """Real measurements, standardised by the training rows."""

    _name: ClassVar[str]

    def load(self, root: str | Path | None = None) -> Dataset:
        """Split and standardise; ``root`` is not used.

        Raises:
            ImportError: if scikit-learn is not installed.
            ValueError: if a split would be empty.
        """
        rows, labels, parts = _load_split(f"load_{self._name}", (self.valid, self.test), self.seed)
        affine = standardisation(rows.train)
        x = [affine.inv(torch.from_numpy(part)) for part in rows]
        made = provenance(RULE, rows, standardisation=affine, **parts)
        return Dataset(self._name, *batches(x, labels), transform=affine, provenance=made)


@dataclass(frozen=True)
class Digits(_Bundled):
    """1,797 handwritten digits of 8 x 8 pixels, the offline stand-in for MNIST.

    ``x`` is ``(N, 64)`` int64, 0..16 (17 categories), row-major, and ``target`` the digit. Border pixels that
    never change are kept, as an image needs them.

    Args:
        valid: fraction below 1, or number of rows.
        test: as ``valid``.
        seed: of the split, :func:`~logprob.data.splits.seeded_split`.

    References:
        Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.

    Example:
        >>> data = Digits().load()
        >>> data.train.x.shape, data.categories, data.image_shape
        (torch.Size([1259, 64]), 17, (1, 8, 8))
    """

    def load(self, root: str | Path | None = None) -> Dataset:
        """Split the rows; ``root`` is not used.

        Raises:
            ImportError: if scikit-learn is not installed.
            ValueError: if a split would be empty.
        """
        rows, labels, parts = _load_split("load_digits", (self.valid, self.test), self.seed)
        rows = Splits(*(part.astype(np.int64) for part in rows))
        made = provenance(RULE, rows, **parts)
        return Dataset("digits", *batches(rows, labels), categories=17, image_shape=(1, 8, 8), provenance=made)


@dataclass(frozen=True)
class PermutedDigits(DataSource):
    """The digits of :class:`Digits` with a fixed split: 1,400 to train on, 397 to test.

    Rows are permuted by ``torch.randperm(1797)`` of a torch generator with seed 0; the first 1,400 are train, the rest
    test. The protocol has no validation rows. ``valid`` repeats the first 397 *training* rows, so that nothing is
    chosen by test rows; what it reports is no estimate of the test value.

    Example:
        >>> data = PermutedDigits().load()
        >>> data.train.x.shape, data.test.x.shape, data.categories, data.image_shape
        (torch.Size([1400, 64]), torch.Size([397, 64]), 17, (1, 8, 8))
    """

    def load(self, root: str | Path | None = None) -> Dataset:
        """Permute and split the rows; ``root`` is not used.

        Raises:
            ImportError: if scikit-learn is not installed.
        """
        order = torch.randperm(DIGITS, generator=torch.Generator().manual_seed(0)).numpy()
        return _digits("permuted-digits", order, 1400, {"rule": "torch.randperm: train, test", "seed": 0})


@dataclass(frozen=True)
class OrderedDigits(DataSource):
    """The digits of :class:`Digits` in the order of the file: the first 1,500 to train on, the last 297 to test.

    The protocol has no validation rows. ``valid`` repeats the first 297 *training* rows, so that nothing is chosen by
    test rows; what it reports is no estimate of the test value.

    Example:
        >>> data = OrderedDigits().load()
        >>> data.train.x.shape, data.test.x.shape, data.categories, data.image_shape
        (torch.Size([1500, 64]), torch.Size([297, 64]), 17, (1, 8, 8))
    """

    def load(self, root: str | Path | None = None) -> Dataset:
        """Split the rows; ``root`` is not used.

        Raises:
            ImportError: if scikit-learn is not installed.
        """
        return _digits("ordered-digits", np.arange(DIGITS), 1500, {"rule": "order of the file: train, test"})


def _digits(name: str, order: NDArray[np.int64], train_rows: int, split: dict[str, Any]) -> Dataset:
    """The digits with a fixed split and no validation rows."""
    rows, labels, source = _load("load_digits")
    train, test = order[:train_rows], order[train_rows:]
    index = Splits(train, train[: len(test)], test)
    codes = index.of(rows.astype(np.int64))
    split = {**split, "valid": "repeats the first training rows, as the protocol has no validation rows"}
    return Dataset(
        name,
        *batches(codes, index.of(labels)),
        categories=17,
        image_shape=(1, 8, 8),
        provenance=provenance(f"{name}/1", codes, split, files=[source]),
    )


@dataclass(frozen=True)
class Wine(_Measurements):
    """Thirteen chemical measurements of 178 wines; ``target`` is one of three cultivars.

    Standardised by the training rows.

    Args:
        valid: fraction below 1, or number of rows.
        test: as ``valid``.
        seed: of the split, :func:`~logprob.data.splits.seeded_split`.

    References:
        Forina et al., "Wine Recognition Data", UCI, 1991.

    Example:
        >>> Wine().load().train.x.shape
        torch.Size([126, 13])
    """

    _name = "wine"


@dataclass(frozen=True)
class BreastCancer(_Measurements):
    """Thirty measurements of 569 cell nuclei; ``target`` is 0 for malignant, 1 for benign.

    Standardised by the training rows.

    Args:
        valid: fraction below 1, or number of rows.
        test: as ``valid``.
        seed: of the split, :func:`~logprob.data.splits.seeded_split`.

    References:
        Street, Wolberg, Mangasarian, "Nuclear feature extraction for breast tumor diagnosis", 1993.

    Example:
        >>> BreastCancer().load().train.x.shape
        torch.Size([400, 30])
    """

    _name = "breast_cancer"
