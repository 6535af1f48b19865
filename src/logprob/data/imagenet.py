"""ImageNet at 32 x 32 and 64 x 64, parsed once and mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from logprob.data.base import Dataset, DataSource
from logprob.data.cache import cached_blocks, cached_parse
from logprob.data.files import CorruptDataError, FoundFiles, Origin, find_files
from logprob.data.image_archives import npz_blocks, npz_labels, npz_rows, tar_blocks, tar_rows
from logprob.data.splits import Splits, batches, provenance, split_size
from logprob.data.stand_ins import generated_codes

RULE = "downsampled-imagenet/1"
NPZ_ROWS = (1_281_167, 50_000)  # ILSVRC 2012; the archives of PNGs leave a few images out

Rows = NDArray[np.uint8]


@dataclass(frozen=True)
class DownsampledImageNet(DataSource):
    """Downsampled ImageNet as ``3 size^2`` pixels 0..255 a row.

    ``Batch.x`` is ``(N, 3 size^2)`` **uint8** (``categories=256``, ``image_shape=(3, size, size)``, all of red first),
    mapped from the cache folder, so that only the rows in use are in memory. ``Batch.target`` holds the classes
    0..999, int64, where the files tell them (npz). The official validation images are the test split; ``valid``
    random training images are the validation split: ``RandomState(seed).permutation(N)[:valid]`` in ascending order,
    the rest is train in the order of the files. The published experiments took an unseeded choice of as many.

    Files, the first of these that is found below a root:

    - ``imagenet<size>/train_data_batch_1.npz`` to ``10`` and ``imagenet<size>/val_data.npz``, with arrays ``data``
      ``(N, 3 size^2)`` uint8 and ``labels`` 1..1000 (Chrabaszcz et al.); the official counts are checked
    - ``train_<size>x<size>.tar`` and ``valid_<size>x<size>.tar`` of PNGs (van den Oord et al.), there or in
      ``imagenet/`` or ``imagenet<size>/``; needs Pillow. Members are read in place, and nothing is extracted. The two
      archives are sampled differently: their likelihoods do not compare.

    The first load parses all images (minutes) and takes 4 GB (32 x 32) or 16 GB (64 x 64) of the cache folder; later
    ones still read every byte once, to check the hashes. Without space in the cache folder the images are held in
    memory.

    Args:
        size: 32 or 64.
        valid: a number of images, or a fraction below 1 of the training images.
        seed: of their choice.

    Raises:
        ValueError: if an argument is out of its range.

    References: van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks", ICML 2016; Chrabaszcz,
    Loshchilov, Hutter, "A Downsampled Variant of ImageNet as an Alternative to the CIFAR datasets", 2017.

    Example:
        >>> DownsampledImageNet(64).stand_in(10).train.x.shape
        torch.Size([10, 12288])
    """

    size: Literal[32, 64] = 32
    valid: float = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size not in (32, 64):
            raise ValueError(f"size must be 32 or 64, got {self.size}")
        split_size(self.valid, NPZ_ROWS[0], "valid")

    @property
    def label(self) -> str:
        """Name of the data set."""
        return f"imagenet{self.size}"

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read the files, or what was kept of them; check and split.

        Raises:
            MissingDataError: if the files are not found.
            CorruptDataError: if one cannot be read, or has not the declared shape or count.
            ImportError: if Pillow is needed and not installed.
        """
        found = find_files(self._origin(), self._layouts(), root)
        files = found.describe()
        archive = _Archive(found, files, self.size)
        train = archive.train_rows()
        chosen = np.zeros(train, dtype=bool)
        chosen[RandomState(self.seed).permutation(train)[: split_size(self.valid, train, "valid")]] = True
        hashes = [entry["sha256"] for entry in files]
        key = {"rule": RULE, "source": hashes, "valid": self.valid, "seed": self.seed}
        rows = cached_blocks(key, lambda: archive.ordered(chosen))
        ends = [train - int(chosen.sum()), train]
        splits = Splits(rows[: ends[0]], rows[ends[0] : ends[1]], rows[ends[1] :])
        split = {"rule": "RandomState(seed).permutation: valid; the official validation images are test"}
        return Dataset(
            self.label,
            *batches(splits, archive.labels(chosen)),
            categories=256,
            image_shape=(3, self.size, self.size),
            provenance=provenance(RULE, splits, {**split, "seed": self.seed}, files=files),
        )

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Generated images of the right shape and type; no file is needed."""
        shape = (3, self.size, self.size)
        return generated_codes(self.label, rows, 3 * self.size**2, 256, np.uint8, image_shape=shape, labels=1000)

    def _origin(self) -> Origin:
        return Origin(
            self.label,
            "downsampled ImageNet at image-net.org (registration), as npz or as tar of PNGs",
            licence="ImageNet terms of access: non-commercial research and education",
            substitute="DownsampledImageNet(...).stand_in(), generated",
            expected=(f"npz: {NPZ_ROWS[0]:,} + {NPZ_ROWS[1]:,} images; tar: a few less",),
        )

    def _layouts(self) -> list[list[str]]:
        side = f"{self.size}x{self.size}"
        batches = [f"{self.label}/train_data_batch_{i}.npz" for i in range(1, 11)]
        tars = [f"train_{side}.tar", f"valid_{side}.tar"]
        folders = ("imagenet/", f"{self.label}/", "")
        return [[*batches, f"{self.label}/val_data.npz"], *([folder + name for name in tars] for folder in folders)]


class _Archive:
    """The files of one layout: the last is the test split, the others are train."""

    def __init__(self, found: FoundFiles, files: list[dict[str, Any]], size: int) -> None:
        self.found, self.size = found, size
        self.paths = [found.path(name) for name in found.names]
        self.packed = found.names[0].endswith(".npz")
        self._counts = self._counted([entry["sha256"] for entry in files])

    def _counted(self, hashes: list[str]) -> list[int]:
        """Images of each file; the official numbers are only known of the npz files."""
        if not self.packed:  # an archive tells it only to who walks through all of it
            key = {"rule": RULE, "counts": hashes}
            counts, _ = cached_parse(key, lambda: (np.array([tar_rows(path) for path in self.paths]), {}))
            return [int(count) for count in counts]
        numbers = [npz_rows(path) for path in self.paths]
        total = (sum(numbers[:-1]), numbers[-1])
        if total != NPZ_ROWS:
            what = f"{self.found.origin.dataset} in {self.found.folder}"
            raise CorruptDataError(f"{what}: expected {NPZ_ROWS} train and test images, found {total}")
        return numbers

    def train_rows(self) -> int:
        """Number of training images, validation included."""
        return sum(self._counts[:-1])

    def ordered(self, chosen: NDArray[np.bool_]) -> tuple[tuple[int, int], Iterator[Rows]]:
        """Shape of all rows, and they themselves: train without the chosen rows, the chosen ones, test."""
        return (sum(self._counts), 3 * self.size**2), self._ordered(chosen)

    def labels(self, chosen: NDArray[np.bool_]) -> list[NDArray[np.int64]] | None:
        """Labels of the three splits, where the files have them."""
        if not self.packed:
            return None
        parts = [npz_labels(path) for path in self.paths]
        for name, count, part in zip(self.found.names, self._counts, parts, strict=True):
            self.found.check(name, "number of labels", count, len(part))
        train = np.concatenate(parts[:-1])
        return [train[~chosen], train[chosen], parts[-1]]

    def _ordered(self, chosen: NDArray[np.bool_]) -> Iterator[Rows]:
        valid: list[Rows] = []
        start = 0
        for path in self.paths[:-1]:
            for block in self._blocks(path):
                mask = chosen[start : start + len(block)]
                start += len(block)
                valid.append(block[mask])
                yield block[~mask]
        yield from valid
        yield from self._blocks(self.paths[-1])

    def _blocks(self, path: Path) -> Iterator[Rows]:
        return npz_blocks(path, self.size) if self.packed else tar_blocks(path, self.size)
