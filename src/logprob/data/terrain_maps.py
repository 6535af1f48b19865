"""Maps with their cheapest paths: generated ones, and the published ones from their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from logprob.batch import Batch
from logprob.data.base import Dataset, DataSource
from logprob.data.files import CorruptDataError, FoundFiles, Origin, find_files
from logprob.data.splits import Splits, content_sha256, provenance
from logprob.data.stand_ins import NOTE
from logprob.data.terrain import TerrainBlock, terrain_block

RULE, PUBLISHED_RULE = "terrain-maps/1", "warcraft-maps/1"
BLOCK = 128  # maps made at a time
PREFIXES = ("train", "val", "test")
PARTS = ("maps", "vertex_weights", "shortest_paths")
ORIGIN = Origin(
    "warcraft maps",
    "the archive of Warcraft II shortest paths published with the repository martius-lab/blackbox-backprop",
    substitute="TerrainMaps (a generator of the same task), whose `write` makes such files",
    expected=(
        "maps uint8 (N, 8 side, 8 side, 3), vertex_weights (N, side, side), shortest_paths of 0 and 1 (N, side, side)",
        "10,000 + 1,000 + 1,000 maps for each side of 12, 18, 24 and 30",
    ),
)


@dataclass(frozen=True)
class TerrainMaps(DataSource):
    """Pictures of made-up country, and the cheapest way across.

    ``Batch.context`` is the picture, float32 ``(N, 3, side tile, side tile)``, each colour standardised by the training
    pictures; ``Batch.x`` the path from the upper left to the lower right cell, 0 and 1, ``(N, side^2)`` row-major;
    ``Batch.target`` the costs of the cells, ``(N, side^2)``. A path pays for every cell that it enters, both ends
    included, and may go to any of the eight neighbours.

    Smooth noise makes heights and moisture, these make water, grass, forest, rock and lava in fixed shares, of costs
    7.7, 0.8, 1.2, 5.3 and 9.2 plus ``1e-3 U(0, 1)``. Maps whose cheapest path is not unique are thrown away. A map
    depends on the seed, the split and its number alone: the first rows stay when more are asked for.

    Args:
        side: cells along a side, at least 2; 12, 18, 24 and 30 are usual.
        train: rows.
        valid: rows.
        test: rows.
        seed: of everything.
        tile: pixels along a cell.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> data = TerrainMaps(train=20, valid=5, test=5).load()
        >>> data.train.context.shape, data.train.x.shape, data.train.target.min() > 0.8
        (torch.Size([20, 3, 96, 96]), torch.Size([20, 144]), tensor(True))
    """

    side: int = 12
    train: int = 10_000
    valid: int = 1_000
    test: int = 1_000
    seed: int = 0
    tile: int = 8

    def __post_init__(self) -> None:
        if min(self.side - 1, self.train, self.valid, self.test, self.tile) < 1 or self.seed < 0:
            raise ValueError(f"expected side from 2, seed from 0, and rows and tile from 1, got {self}")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Draw, solve and standardise; ``root`` is not used, as nothing is read."""
        parts = [_joined(list(self._blocks(split))) for split in range(3)]
        return _dataset(f"terrain-{self.side}x{self.side}", RULE, parts, split=self._split)

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """The first maps of each split."""
        few = replace(self, train=min(rows, self.train), valid=min(rows, self.valid), test=min(rows, self.test)).load()
        note = f"the first {rows} maps of each split, for smoke runs"
        return replace(few, name=f"{few.name} stand-in", provenance={**few.provenance, "stand_in": note})

    def write(self, folder: str | Path) -> None:
        """Write the maps as nine files, in the layout that :class:`WarcraftMaps` reads.

        Args:
            folder: made if it is not there. Files of these names are overwritten.
        """
        into = Path(folder)
        into.mkdir(parents=True, exist_ok=True)
        cells, pixels = (self.side, self.side), (self.side * self.tile, self.side * self.tile, 3)
        layout: list[tuple[str, Any, tuple[int, ...]]] = [
            (PARTS[0], np.uint8, pixels),
            (PARTS[1], np.float32, cells),
            (PARTS[2], np.uint8, cells),
        ]
        for split, (prefix, rows) in enumerate(zip(PREFIXES, self._rows, strict=True)):
            files = [
                open_memmap(into / f"{prefix}_{part}.npy", "w+", dtype, (rows, *row)) for part, dtype, row in layout
            ]
            start = 0
            for block in self._blocks(split):
                for file, values in zip(files, (block.maps, block.weights, block.paths), strict=True):
                    file[start : start + len(values)] = values
                start += len(block.maps)

    @property
    def _rows(self) -> tuple[int, int, int]:
        return self.train, self.valid, self.test

    @property
    def _split(self) -> dict[str, Any]:
        return {"rule": "a stream of random numbers for every map", "seed": self.seed}

    def _blocks(self, split: int) -> Iterator[TerrainBlock]:
        rows = np.arange(self._rows[split])
        for start in range(0, len(rows), BLOCK):
            yield terrain_block((self.seed, split), rows[start : start + BLOCK], self.side, self.tile)


@dataclass(frozen=True)
class WarcraftMaps(DataSource):
    """The published Warcraft II maps, or your own in their layout; batches are those of :class:`TerrainMaps`.

    Files, in ``warcraft_shortest_path/12x12/``, in ``12x12/`` or right in the folder: ``train_maps.npy``,
    ``train_vertex_weights.npy``, ``train_shortest_paths.npy``, and likewise ``val_`` and ``test_``. Types, shapes and
    the ends of the paths are checked.

    Args:
        side: cells along a side, at least 2.

    Raises:
        ValueError: if it is less.

    References:
        Vlastelica, Paulus, Musil, Martius and Rolinek, "Differentiation of Blackbox Combinatorial Solvers", ICLR 2020.

    Example:
        >>> WarcraftMaps(12).stand_in(4).train.context.shape
        torch.Size([4, 3, 96, 96])
    """

    side: int = 12

    def __post_init__(self) -> None:
        if self.side < 2:
            raise ValueError(f"side must be at least 2, got {self.side}")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read, check and standardise.

        Raises:
            MissingDataError: if the files are not found.
            CorruptDataError: if one is no array of the right type, shape and content.
        """
        files = [f"{prefix}_{part}.npy" for prefix in PREFIXES for part in PARTS]
        size = f"{self.side}x{self.side}"
        folders = (f"warcraft_shortest_path/{size}/", f"{size}/", "")
        found = find_files(ORIGIN, [[folder + file for file in files] for folder in folders], root)
        parts = [self._read(found, found.names[start : start + 3]) for start in (0, 3, 6)]
        pixels = {part.maps.shape[1:] for part in parts}
        found.check(found.names[0], "number of picture sizes", 1, len(pixels))
        return _dataset(f"warcraft-{size}", PUBLISHED_RULE, parts, {"rule": "as published"}, files=found.describe())

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Maps of :class:`TerrainMaps`; no file is needed."""
        made = TerrainMaps(self.side).stand_in(rows)
        made_so = {**made.provenance, "stand_in": NOTE}
        return replace(made, name=f"warcraft-{self.side}x{self.side} stand-in", provenance=made_so)

    def _read(self, found: FoundFiles, names: tuple[str, ...]) -> TerrainBlock:
        maps, weights, paths = (_array(found.path(name)) for name in names)
        found.check(names[0], "type and dimensions", ("uint8", 4, 3), (str(maps.dtype), maps.ndim, maps.shape[-1]))
        found.check(names[0], "pixels left over at the cells' sides", (0, 0), _left_over(maps, self.side))
        for name, values in zip(names[1:], (weights, paths), strict=True):
            found.check(name, "shape", (len(maps), self.side, self.side), values.shape)
        found.check(names[1], "costs all positive and finite", True, bool(((weights > 0) & np.isfinite(weights)).all()))
        found.check(names[2], "cells all 0 or 1", True, bool(((paths == 0) | (paths == 1)).all()))
        ends = bool(paths[:, 0, 0].all() and paths[:, -1, -1].all())
        found.check(names[2], "paths from the upper left to the lower right", True, ends)
        return TerrainBlock(maps, weights.astype(np.float32), paths.astype(np.uint8))


def _left_over(maps: NDArray[Any], side: int) -> tuple[int, int]:
    height, width = maps.shape[1:3]
    return height % side, width % side


def _array(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as stream:
            return np.load(stream, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise CorruptDataError(f"{path}: expected an array of NumPy; {error}") from error


def _joined(blocks: list[TerrainBlock]) -> TerrainBlock:
    return TerrainBlock(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _dataset(name: str, rule: str, parts: list[TerrainBlock], split: dict[str, Any], **more: Any) -> Dataset:
    mean, std = _moments(parts[0].maps)
    train, valid, test = (_batch(part, mean, std) for part in parts)
    return Dataset(
        name,
        train,
        valid,
        test,
        provenance=provenance(
            rule,
            Splits(*(part.maps for part in parts)),
            split,
            side=parts[0].paths.shape[-1],
            tile=parts[0].maps.shape[1] // parts[0].paths.shape[-1],
            colours={"mean": mean.tolist(), "std": std.tolist()},
            paths_sha256=content_sha256([part.paths for part in parts]),
            weights_sha256=content_sha256([part.weights for part in parts]),
            **more,
        ),
    )


def _moments(maps: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean and deviation of each colour, exactly, by counting bytes."""
    levels = np.arange(256)
    counts = np.stack([np.bincount(maps[..., colour].ravel(), minlength=256) for colour in range(3)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(axis=1)
    return mean, np.sqrt(variance)


def _batch(part: TerrainBlock, mean: NDArray[Any], std: NDArray[Any]) -> Batch:
    """One byte has 256 standardised values, so they are looked up."""
    values = ((np.arange(256) - mean[:, None]) / std[:, None]).astype(np.float32)  # (3, 256)
    pictures = np.stack([values[colour][part.maps[..., colour]] for colour in range(3)], axis=1)
    path, weights = (flat.reshape(len(flat), -1).astype(np.float32) for flat in (part.paths, part.weights))
    return Batch(torch.from_numpy(path), torch.from_numpy(pictures), torch.from_numpy(weights))
