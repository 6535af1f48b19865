"""What every data set is: three splits of tensors, and everything a reader needs to trust them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from logprob.batch import Batch
from logprob.data.splits import content_sha256
from logprob.transforms import Affine


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test rows of one data set, ready for a model.

    Args:
        name: short name, as it appears in results.
        train: rows to fit, ``x`` of shape ``(N, D)``: floating point, or integer codes ``0..categories-1``.
        valid: rows that choose the best checkpoint.
        test: rows that are only reported.
        categories: number of states of each variable of discrete data, else None.
        image_shape: ``(channels, height, width)`` if a row is a flattened image, else None.
        transform: map from the units of ``x`` to the units of the source, if the rows were standardised.
        true_log_prob: exact log-density of the generating law in the units of ``x``, where it is known.
        provenance: rule, seeds, counts and hashes, JSON-serialisable; it is written with the results.
    """

    name: str
    train: Batch
    valid: Batch
    test: Batch
    categories: int | None = None
    image_shape: tuple[int, int, int] | None = None
    transform: Affine | None = None
    true_log_prob: Callable[[Tensor], Tensor] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variables(self) -> int:
        """Number of variables D of a row."""
        return self.train.x.shape[-1]

    @property
    def content_sha256(self) -> str:
        """Hash of the three splits as the source has them; ``provenance``'s, or else that of ``x`` itself."""
        known = self.provenance.get("content_sha256")
        if known is not None:
            return str(known)
        return _hash(self.train, self.valid, self.test)

    def first(self, rows: int) -> Dataset:
        """A stand-in for smoke runs: the first rows of each split, as the provenance says, copied.

        Args:
            rows: of each split, or all that it has.

        Raises:
            ValueError: if ``rows`` is not positive.

        Example:
            >>> from logprob.data import Synthetic2D
            >>> short = Synthetic2D("ring").load().first(50)
            >>> short.name, short.train.x.shape, short.provenance["split"]["counts"]["test"]
            ('ring stand-in', torch.Size([50, 2]), 50)
        """
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        parts = [_copied(batch.rows(slice(0, rows))) for batch in (self.train, self.valid, self.test)]
        counts = {name: len(part.x) for name, part in zip(("train", "valid", "test"), parts, strict=True)}
        made = {
            **self.provenance,
            "split": {**self.provenance.get("split", {}), "counts": counts},
            "content_sha256": _hash(*parts),  # of the rows as they are here
            "stand_in": f"the first {rows} rows of each split, for smoke runs",
        }
        train, valid, test = parts
        name = f"{self.name} stand-in"
        return replace(self, name=name, train=train, valid=valid, test=test, provenance=made)


def _hash(*batches: Batch) -> str:
    return content_sha256([batch.x.cpu().numpy() for batch in batches])


def _copied(batch: Batch) -> Batch:
    """Rows that no longer hold on to the whole of what they were taken from."""
    x, context, target = (None if part is None else part.clone() for part in batch)
    assert x is not None
    return Batch(x, context, target)


class DataSource(ABC):
    """A recipe of a data set: cheap to make, and nothing is read before :meth:`load`."""

    @abstractmethod
    def load(self, root: str | Path | None = None) -> Dataset:
        """Read, check, split and standardise.

        Args:
            root: folder that holds the files, before the environment variable ``LOGPROB_DATA`` and the cache
                folder.

        Raises:
            MissingDataError: if a file is not found; it says where it was looked for and how to get it.
        """

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Few rows, for a smoke run: of the same type and width, and for image files without any file.

        By default :meth:`load` with the first rows of each split. Sources whose files may be missing generate
        rows from a fixed seed instead; ``provenance["stand_in"]`` says which.

        Args:
            rows: of each split.
            root: as in :meth:`load`, where rows are taken from files.

        Raises:
            MissingDataError: if rows are taken from files, and these are not found.
            ValueError: if ``rows`` is not positive.
        """
        return self.load(root).first(rows)
