"""Images of some classes with their labels as conditions, in floats that fill [0, 1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from logprob.batch import Batch
from logprob.data.base import Dataset, DataSource
from logprob.data.pixels import PreparedImages, image_shape_of, unit_pixels
from logprob.data.splits import Splits, content_sha256

BELOW_ONE = 1 - 2.0**-24  # the largest float32 below one: a sum of code and noise may round up to the next code


@dataclass(frozen=True)
class LabelledImages(PreparedImages):
    """Images of chosen classes: ``Batch.x`` float32 in [0, 1), ``Batch.context`` the class 0..K-1.

    Pixels of ``n`` levels become ``(code + u) / n`` with ``u ~ U(0, 1)``; for bytes that is ``X 255/256 + u/256``, with
    X in [0, 1]. The noise is drawn once, of its own for each split, so that a seed fixes all rows and the number of
    training rows changes no other split. Classes are numbered in the order of ``keep``; ``Batch.target`` holds them
    too. The hash of the content is that of the rows kept, as the source has them.

    Args:
        source: of images with integer labels as ``target``.
        keep: labels to keep, as a list or as a range such as "0-7" (both ends included); None keeps all that the
            training rows have.
        context: False leaves the context out, for a model without conditions.
        dequantise: "uniform" as above; "middle", ``u = 1/2``, the same for all; "none", ``code / (n - 1)`` in [0, 1].
        rows: number of training rows, or None for all.
        subset: which ones: the "first" in the source's order, or "stratified", a random choice with each class in
            proportion.
        seed: of the noise and of the choice.

    Raises:
        ValueError: if an argument is out of its range; at :meth:`load`, if the source has no images or no labels, a
            class to keep has no training row, a split would be empty, or there are fewer training rows than asked for.

    Example:
        >>> from logprob.data import Digits
        >>> data = LabelledImages(Digits(), keep=[8, 9]).load()
        >>> data.train.x.dtype, data.train.context.unique(), data.image_shape
        (torch.float32, tensor([0, 1]), (1, 8, 8))
    """

    source: DataSource
    keep: str | Sequence[int] | None = None
    context: bool = True
    dequantise: Literal["uniform", "middle", "none"] = "uniform"
    rows: int | None = None
    subset: Literal["first", "stratified"] = "first"
    seed: int = 0

    def __post_init__(self) -> None:
        labels = _listed(self.keep)
        if labels is not None and (not labels or len(set(labels)) < len(labels)):
            raise ValueError(f"keep must list different labels, at least one; got {self.keep!r}")
        if self.dequantise not in ("uniform", "middle", "none") or self.subset not in ("first", "stratified"):
            expected = "dequantise 'uniform', 'middle' or 'none' and subset 'first' or 'stratified'"
            raise ValueError(f"expected {expected}, got {self.dequantise!r} and {self.subset!r}")
        if (self.rows is not None and self.rows < 1) or self.seed < 0:
            raise ValueError(f"expected rows >= 1 or None, and seed >= 0, got {self.rows} and {self.seed}")

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """The source's stand-in, changed in the same way.

        Its labels are dealt out one after the other, so that a few rows have every class; there is at least one row of
        each class to keep, and ``rows`` of the source asks for no more than there are.
        """
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        dataset = self.source.stand_in(max(rows, len(_listed(self.keep) or ())), root)
        labels = self._labels(dataset)
        train, valid, test = (_dealt(split, labels) for split in (dataset.train, dataset.valid, dataset.test))
        few = None if self.rows is None else min(self.rows, len(train.x))
        return replace(self, rows=few)._prepared(replace(dataset, train=train, valid=valid, test=test))

    def _prepared(self, dataset: Dataset) -> Dataset:
        image_shape_of(dataset)
        labels = self._labels(dataset)
        train, valid, test = (_kept(getattr(dataset, name), labels, name) for name in Splits._fields)
        chosen = self._chosen(train, len(labels))
        canonical = Splits(*(codes.numpy() for codes in (train.x[chosen], valid.x, test.x)))
        return replace(
            dataset,
            name=f"labelled-{dataset.name}",
            train=self._shown(train, dataset, 0).rows(chosen),
            valid=self._shown(valid, dataset, 1),
            test=self._shown(test, dataset, 2),
            categories=None,
            transform=None,  # both were of the rows before
            true_log_prob=None,
            provenance={**dataset.provenance, **self._made(dataset, canonical, labels)},
        )

    def _labels(self, dataset: Dataset) -> Tensor:
        """The labels to keep, in their new order: ``(K,)``."""
        target = dataset.train.target
        if dataset.train.context is not None or target is None or target.ndim != 1 or target.is_floating_point():
            raise ValueError(f"expected a source with integer labels as target and no context, got {dataset.name!r}")
        labels = _listed(self.keep)
        return target.unique() if labels is None else torch.tensor(labels)

    def _chosen(self, train: Batch, classes: int) -> Tensor:
        """Numbers of the training rows to keep, ascending."""
        available = len(train.x)
        if self.rows is None or self.rows == available:
            return torch.arange(available)
        if self.rows > available:
            raise ValueError(f"rows={self.rows} are asked for, but the classes kept have {available} training rows")
        if self.subset == "first":
            return torch.arange(self.rows)
        assert train.target is not None
        return _stratified(train.target, classes, self.rows, self.seed)

    def _shown(self, batch: Batch, dataset: Dataset, place: int) -> Batch:
        """The batch with its pixels as floats, and its context left out if that is asked for."""
        x = self._pixels(batch.x, dataset, place)
        return Batch(x, context=batch.target if self.context else None, target=batch.target)

    def _pixels(self, codes: Tensor, dataset: Dataset, place: int) -> Tensor:
        if self.dequantise == "none":
            return unit_pixels(codes, dataset)
        if dataset.categories is None:
            raise ValueError(f"expected pixels as codes to dequantise, got {codes.dtype} in {dataset.name!r}")
        if self.dequantise == "middle":
            return (codes.float() + 0.5) / dataset.categories
        noise = np.random.default_rng((self.seed, place)).random(tuple(codes.shape), dtype=np.float32)
        return torch.from_numpy(noise).add_(codes).div_(dataset.categories).clamp_(max=BELOW_ONE)

    def _made(self, dataset: Dataset, canonical: Splits, labels: Tensor) -> dict[str, Any]:
        names = ("context", "dequantise", "rows", "subset", "seed")
        step = {"name": "labelled", **{name: getattr(self, name) for name in names}}
        return {
            "split": {**dataset.provenance.get("split", {}), "counts": canonical.counts()},
            "content_sha256": content_sha256(canonical),
            "preparation": [*dataset.provenance.get("preparation", []), step],
            "labels": labels.tolist(),
            "conditions": len(labels),
        }


def _listed(keep: str | Sequence[int] | None) -> list[int] | None:
    """The labels that ``keep`` names."""
    if not isinstance(keep, str):
        return None if keep is None else [int(label) for label in keep]
    found = re.fullmatch(r"(\d+)-(\d+)", keep)
    if found is None:
        raise ValueError(f"expected a range of labels such as '0-7', got {keep!r}")
    return list(range(int(found[1]), int(found[2]) + 1))


def _dealt(batch: Batch, labels: Tensor) -> Batch:
    """The batch with the labels in turn."""
    return batch._replace(target=labels[torch.arange(len(batch.x)) % len(labels)])


def _kept(batch: Batch, labels: Tensor, name: str) -> Batch:
    """The rows that have one of the labels, and as target the place of theirs among them.

    Raises:
        ValueError: if there are none, or, of the training rows, if a label has none.
    """
    assert batch.target is not None
    matches = batch.target[:, None] == labels  # (N, K)
    absent = labels[~matches.any(0)].tolist()
    if len(absent) == len(labels) or (absent and name == "train"):
        raise ValueError(f"no {name} row has the label{'s' * (len(absent) > 1)} {', '.join(map(str, absent))}")
    rows = matches.any(1).nonzero().squeeze(1)
    return Batch(batch.x[rows], target=matches[rows].long().argmax(1))


def _stratified(target: Tensor, classes: int, rows: int, seed: int) -> Tensor:
    """Row numbers with every class in proportion, the remainder going to the largest fractions."""
    if rows < classes:
        raise ValueError(f"a stratified choice of {classes} classes needs a row of each, got rows={rows}")
    counts = torch.bincount(target, minlength=classes).numpy()
    shares = rows * counts / counts.sum()
    sizes = np.maximum(shares.astype(np.int64), 1)
    while sizes.sum() != rows:  # a class that was raised to one row takes it from the one that is most over its share
        excess = sizes - shares
        place = excess.argmin() if sizes.sum() < rows else np.where(sizes > 1, excess, -np.inf).argmax()
        sizes[place] += np.sign(rows - sizes.sum())
    stream = RandomState(seed)
    members = (stream.permutation(np.flatnonzero(target.numpy() == k)) for k in range(classes))
    picked = [own[:size] for own, size in zip(members, sizes, strict=True)]
    return torch.from_numpy(np.sort(np.concatenate(picked)))
