"""What a model is shown of the images of another source: in [0, 1], binary, or of another size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from logprob.batch import Batch
from logprob.data.base import Dataset, DataSource

BLOCK = 4096  # images resized at a time


@dataclass(frozen=True)
class PreparedImages(DataSource):
    """The images of another source, changed; labels, splits and hash stay the source's.

    ``provenance["preparation"]`` lists every change, the first one first.

    Args:
        source: of the images.
    """

    source: DataSource

    def load(self, root: str | Path | None = None) -> Dataset:
        """Load the source and change its images.

        Raises:
            MissingDataError: if a file of the source is not found.
            ValueError: if the source's rows are not what the change needs.
        """
        return self._prepared(self.source.load(root))

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """The source's stand-in, changed in the same way."""
        return self._prepared(self.source.stand_in(rows, root))

    @abstractmethod
    def _prepared(self, dataset: Dataset) -> Dataset:
        """The changed data set."""


@dataclass(frozen=True)
class ScaledImages(PreparedImages):
    """Pixels as float32 in [0, 1]: codes ``0..categories-1`` divided by ``categories - 1``.

    A row takes four bytes a pixel: all of CelebA at 64 x 64 is 10 GB.

    Args:
        source: of images as codes; pixels that are floating point must lie in [0, 1] already.

    Example:
        >>> from logprob.data import Digits
        >>> data = ScaledImages(Digits()).load()
        >>> data.train.x.dtype, data.train.x.max(), data.categories
        (torch.float32, tensor(1.), None)
    """

    def _prepared(self, dataset: Dataset) -> Dataset:
        return changed(dataset, "scaled", {}, lambda batch: batch._replace(x=unit_pixels(batch.x, dataset)))


@dataclass(frozen=True)
class BinaryImages(PreparedImages):
    """Pixels as float32 0 and 1: 1 where a pixel is at least ``threshold`` of its range.

    Args:
        source: of images as codes or in [0, 1].
        threshold: in (0, 1].

    Raises:
        ValueError: if ``threshold`` is out of its range.

    Example:
        >>> from logprob.data import OrderedDigits
        >>> data = BinaryImages(OrderedDigits()).load()  # pixel >= 8 -> 1
        >>> data.train.x.unique(), data.image_shape
        (tensor([0., 1.]), (1, 8, 8))
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must lie in (0, 1], got {self.threshold}")

    def _prepared(self, dataset: Dataset) -> Dataset:
        def binary(batch: Batch) -> Batch:
            return batch._replace(x=(unit_pixels(batch.x, dataset) >= self.threshold).float())

        return changed(dataset, "binary", {"threshold": self.threshold}, binary)


@dataclass(frozen=True)
class SampledBinaryImages(PreparedImages):
    """Pixels as float32 0 and 1, drawn once: 1 with the pixel, as a share of its range, for its probability.

    One torch generator draws train, valid and test in this order, so that a seed fixes all rows. This is the *fixed*
    stochastic binarisation, in which the same bits come back in every epoch.

    Args:
        source: of images as codes or in [0, 1].
        seed: of the draws.

    References:
        Salakhutdinov and Murray, "On the quantitative analysis of deep belief networks", ICML 2008.

    Example:
        >>> from logprob.data import Digits
        >>> SampledBinaryImages(Digits(), seed=1).load().test.x.unique()
        tensor([0., 1.])
    """

    seed: int = 0

    def _prepared(self, dataset: Dataset) -> Dataset:
        generator = torch.Generator().manual_seed(self.seed)

        def drawn(batch: Batch) -> Batch:
            return batch._replace(x=torch.bernoulli(unit_pixels(batch.x, dataset), generator=generator))

        return changed(dataset, "sampled-binary", {"seed": self.seed}, drawn)


@dataclass(frozen=True)
class ResizedImages(PreparedImages):
    """Images of ``size x size`` pixels, float32 in [0, 1], by bilinear interpolation between pixel centres.

    Where the image shrinks, the filter widens with it (antialiasing). Binary images are binary no more afterwards.

    Args:
        source: of images as codes or in [0, 1].
        size: pixels of a side, > 0.

    Raises:
        ValueError: if ``size`` is not positive; at :meth:`load`, if the source's rows are no images.

    Example:
        >>> from logprob.data import Digits
        >>> data = ResizedImages(BinaryImages(Digits()), size=32).load()
        >>> data.name, data.train.x.shape, data.image_shape
        ('32x32-binary-digits', torch.Size([1259, 1024]), (1, 32, 32))
    """

    size: int = 32

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")

    def _prepared(self, dataset: Dataset) -> Dataset:
        shape = image_shape_of(dataset)

        def resized(batch: Batch) -> Batch:
            blocks = unit_pixels(batch.x, dataset).unflatten(-1, shape).split(BLOCK)
            return batch._replace(x=torch.cat([_resized(block, self.size) for block in blocks]))

        name = f"{self.size}x{self.size}"
        return changed(dataset, name, {"size": self.size}, resized, (shape[0], self.size, self.size))


def unit_pixels(x: Tensor, dataset: Dataset) -> Tensor:
    """Rows of the data set as float32 in [0, 1].

    Raises:
        ValueError: if they are neither codes nor in [0, 1].
    """
    if dataset.categories is not None:
        return x.float() / (dataset.categories - 1)
    if x.is_floating_point() and bool(((x >= 0) & (x <= 1)).all()):
        return x.float()
    got = f"{x.dtype} from {x.min().item()} to {x.max().item()}"
    raise ValueError(f"expected pixels as codes or in [0, 1], got {got} in {dataset.name!r}")


def image_shape_of(dataset: Dataset) -> tuple[int, int, int]:
    """The shape of the data set's images.

    Raises:
        ValueError: if its rows are no images.
    """
    if dataset.image_shape is None:
        raise ValueError(f"expected a source of images, got {dataset.name!r}, whose rows are none")
    return dataset.image_shape


def changed(
    dataset: Dataset,
    name: str,
    values: Mapping[str, Any],
    change: Callable[[Batch], Batch],
    image_shape: tuple[int, int, int] | None = None,
    categories: int | None = None,
) -> Dataset:
    """The data set with every split changed, under a longer name.

    Args:
        dataset: before.
        name: of the change.
        values: its settings, for the provenance.
        change: of a split; train, valid and test are changed in this order.
        image_shape: after it, if it is another one.
        categories: after it, if pixels are codes.

    Raises:
        ValueError: if the images are conditioned on something, which the change would leave as it was.
    """
    if dataset.train.context is not None:
        raise ValueError(f"{dataset.name!r} has a context; prepare the images before they are divided")
    train, valid, test = (change(split) for split in (dataset.train, dataset.valid, dataset.test))
    steps = [*dataset.provenance.get("preparation", []), {"name": name, **values}]
    return replace(
        dataset,
        name=f"{name}-{dataset.name}",
        train=train,
        valid=valid,
        test=test,
        categories=categories,
        image_shape=image_shape or dataset.image_shape,
        transform=None,  # both were of the rows before
        true_log_prob=None,
        provenance={**dataset.provenance, "preparation": steps},
    )


def _resized(images: Tensor, size: int) -> Tensor:
    """Images ``(N, C, H, W)`` as rows ``(N, C size^2)``."""
    new = F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return new.clamp_(0, 1).flatten(1)  # the weights have the sum 1, so that this cuts off rounding only
