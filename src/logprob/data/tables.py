"""A user's own table of numbers: read, split, cleaned and standardised by rules that the result tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from logprob.data.base import Dataset, DataSource
from logprob.data.cache import cached_parse
from logprob.data.columns import constant_columns, duplicates, is_discrete, noise_widths, smallest_gap
from logprob.data.files import CorruptDataError, FoundFiles, Origin, file_sha256, find_files
from logprob.data.names import check_name
from logprob.data.numeric_npy import read_numeric_npy
from logprob.data.numeric_text import NumericTable, read_numeric_text
from logprob.data.splits import (
    Splits,
    batches,
    provenance,
    seeded_split,
    split_size,
    standardisation,
    tail_split,
)
from logprob.data.stand_ins import generated_values

RULE = "table/1"
CACHE_FROM_BYTES = 16 * 2**20  # below, parsing takes less than about a second

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Table(DataSource):
    """Rows of a plain numeric table, one variable a column.

    ``x`` is float64 ``(N, D)``, NaN where a value is missing.

    In this order: columns are selected; rows are split; columns constant in the training rows are dropped;
    discrete columns (:func:`~logprob.data.columns.is_discrete`, on the training rows), on which a density has
    no upper bound, are refused, dequantised by ``x + width * U(0, 1)``, or kept; columns are standardised by
    mean and population deviation of the training values that are not missing. ``Dataset.transform`` leads
    back to the file's units, and ``Dataset.provenance`` tells what was dropped, dequantised, missing and
    duplicated.

    Args:
        path: ``.npy``, ``.npz`` (one array, or arrays train, valid and test), or any other name for text (see
            :func:`~logprob.data.numeric_text.read_numeric_text`), gzipped or not. A relative path is looked
            for under the roots, and before them under the current folder.
        valid: a fraction below 1 or a number of rows of ``path``; or the path of a file of its own.
        test: as ``valid``; both are numbers or both are files.
        shuffle: True: :func:`~logprob.data.splits.seeded_split`; False: in the order of the file, test last.
        seed: of the shuffle and of the dequantisation noise.
        standardize: whether ``x`` is standardised.
        columns: names of the columns to keep (position as a string, if there is no header); all by default.
        discrete: "refuse", "dequantise" or "keep" discrete columns.
        width: width of the dequantisation noise in the file's units: one number, or one a column name.
        delimiter: of a text file; found out by default.
        header: of a text file: whether the first line names the columns; found out by default.
        name: name of the data set; by default that of the file.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> Table("measurements.csv.gz", valid=0.1, test=0.2, discrete="dequantise", width={"age": 1.0}).label
        'measurements'
    """

    path: str | Path
    valid: float | str | Path = 0.1
    test: float | str | Path = 0.1
    shuffle: bool = True
    seed: int = 42
    standardize: bool = True
    columns: list[str] | None = None
    discrete: Literal["refuse", "dequantise", "keep"] = "refuse"
    width: float | dict[str, float] | None = None
    delimiter: str | None = None
    header: bool | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        check_name("way with discrete columns", self.discrete, ("refuse", "dequantise", "keep"))
        if isinstance(self.valid, (str, Path)) != isinstance(self.test, (str, Path)):
            raise ValueError(f"valid and test must both be numbers or both be files, got {self.valid!r}, {self.test!r}")
        if self.width is not None and self.discrete != "dequantise":
            raise ValueError(f'width is for discrete="dequantise", got discrete={self.discrete!r}')

    @property
    def label(self) -> str:
        """Name of the data set."""
        return self.name or Path(self.path).name.split(".")[0]

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read, select, split, clean and standardise.

        Raises:
            MissingDataError: if a file is not found.
            CorruptDataError: if it cannot be read as a table; row and column are named where they are known.
            ValueError: if a column is unknown, discrete columns are refused, or a split would be empty.
        """
        found = self._find(root)
        names, parts = self._read(found)
        names, parts = self._select(names, parts)
        canonical, split = self._split(parts)
        constant = constant_columns(canonical.train)
        if constant.all():
            raise ValueError(f"{self.label}: no column varies in the training rows")
        kept = Splits(*(part[:, ~constant] for part in canonical))
        kept_names = [name for name, drop in zip(names, constant, strict=True) if not drop]
        rows, widths = self._without_atoms(kept_names, kept)
        affine = standardisation(rows.train) if self.standardize else None
        x = [torch.from_numpy(part) for part in rows]
        return Dataset(
            self.label,
            *batches(part if affine is None else affine.inv(part) for part in x),
            transform=affine,
            provenance=provenance(
                RULE,
                kept,
                split,
                files=found.describe(),
                standardisation=affine,
                columns=kept_names,
                dropped_columns=[name for name, drop in zip(names, constant, strict=True) if drop],
                dequantised=widths,
                missing_values={name: int(np.isnan(part).sum()) for name, part in kept._asdict().items()},
                duplicates=duplicates(*kept),
            ),
        )

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Generated values, if ``columns`` tells how many variables there are; else the first rows of the file."""
        if self.columns is None:
            return super().stand_in(rows, root)
        return generated_values(self.label, rows, len(self.columns))

    def _find(self, root: str | Path | None) -> FoundFiles:
        files = [self.path] + [part for part in (self.valid, self.test) if isinstance(part, (str, Path))]
        paths = [str(Path(path).expanduser()) for path in files]
        origin = Origin(self.label, "your own files", licence="yours", substitute="Wine or BreastCancer")
        here = root is None and all(Path(path).is_file() for path in paths)
        return find_files(origin, [paths], Path() if here else root)

    def _read(self, found: FoundFiles) -> tuple[tuple[str, ...], list[Rows]]:
        """Column names and one array, or three if the splits come apart."""
        tables = [table for name in found.names for table in self._read_file(found.path(name))]
        if len(tables) not in (1, 3):
            raise CorruptDataError(
                f"{self.label}: expected one array, or train, valid and test; got {len(tables)} arrays"
            )
        for name, table in zip(("train", "valid", "test"), tables, strict=False):
            if table.names != tables[0].names:
                raise CorruptDataError(
                    f"{self.label}: columns of {name} are {', '.join(table.names)}; "
                    f"expected those of train, {', '.join(tables[0].names)}"
                )
        return tables[0].names, [table.values for table in tables]

    def _read_file(self, path: Path) -> list[NumericTable]:
        if path.suffix in (".npy", ".npz"):
            return read_numeric_npy(path)
        if path.stat().st_size < CACHE_FROM_BYTES:
            return [read_numeric_text(path, self.delimiter, self.header)]

        def parse() -> tuple[Rows, dict[str, Any]]:
            table = read_numeric_text(path, self.delimiter, self.header)
            return table.values, {"names": table.names}

        key = {"rule": RULE, "source": file_sha256(path), "delimiter": self.delimiter, "header": self.header}
        values, description = cached_parse(key, parse)
        return [NumericTable(tuple(description["names"]), values)]

    def _select(self, names: tuple[str, ...], parts: list[Rows]) -> tuple[tuple[str, ...], list[Rows]]:
        if self.columns is None:
            return names, parts
        for name in self.columns:
            check_name("column", name, names)
        index = [names.index(name) for name in self.columns]
        return tuple(self.columns), [part[:, index] for part in parts]

    def _split(self, parts: list[Rows]) -> tuple[Splits, dict[str, Any]]:
        rule: dict[str, Any]
        if len(parts) == 3:
            return Splits(*parts), {"rule": "three arrays, as given"}
        (rows,) = parts
        valid, test = (split_size(cast(float, getattr(self, name)), len(rows), name) for name in ("valid", "test"))
        if not self.shuffle:
            rule = {"rule": "order of the file: train, valid, test"}
            return tail_split(len(rows), valid, test).of(rows), rule
        rule = {"rule": "RandomState(seed).permutation: valid, test, train", "seed": self.seed}
        return seeded_split(len(rows), valid, test, self.seed).of(rows), rule

    def _without_atoms(self, names: list[str], rows: Splits) -> tuple[Splits, dict[str, float]]:
        """The rows with noise on the discrete columns, and its widths; or an error, as ``discrete`` says."""
        discrete = [name for i, name in enumerate(names) if is_discrete(rows.train[:, i])]
        if not discrete or self.discrete == "keep":
            return rows, {}
        if self.discrete == "refuse":
            raise ValueError(
                f"{self.label}: discrete columns {', '.join(discrete)}: a density on them is unbounded. "
                'Leave them out with columns=[...], or say discrete="dequantise" with a width, or "keep"'
            )
        gaps = {name: smallest_gap(rows.train[:, names.index(name)]) for name in discrete}
        widths = noise_widths(discrete, self.width, gaps)
        for name in widths:
            check_name("column", name, names)
        scale = np.array([widths.get(name, 0.0) for name in names])
        # a stream of its own for each split: a row's noise depends on its place in its split only
        streams = [np.random.default_rng([self.seed, i]) for i in range(3)]
        noisy = (part + scale * rng.random(part.shape) for part, rng in zip(rows, streams, strict=True))
        return Splits(*noisy), widths
