"""What every data set is: three splits of tensors, and everything a reader needs to trust them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
        return content_sha256([batch.x.cpu().numpy() for batch in (self.train, self.valid, self.test)])


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
