"""Pictures of country to cross: noise makes heights and moisture, these make five terrains, and these make costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from logprob.data.grid_paths import cheapest_paths

Array = NDArray[Any]

TERRAINS = ("water", "grass", "forest", "rock", "lava")
COSTS = np.array([7.7, 0.8, 1.2, 5.3, 9.2])
SHARES = np.array([0.15, 0.3, 0.25, 0.2, 0.1])  # of the cells of every map
COLOURS = np.array([[48, 92, 150], [112, 150, 64], [44, 88, 46], [120, 112, 104], [176, 66, 34]], dtype=np.float32)
ROUGHNESS = np.array([0.10, 0.25, 0.60, 0.45, 0.50], dtype=np.float32)  # of single pixels, relative
JITTER = 1e-3  # of costs, so that no two paths cost the same
VARIANT, BRIGHTNESS, SOFTNESS = 0.15, 0.2, 0.35  # relative change of tiles and of maps; share of blended neighbours


class TerrainBlock(NamedTuple):
    """Some maps.

    Args:
        maps: pictures, uint8 ``(N, side * tile, side * tile, 3)``.
        weights: costs of cells, float32 ``(N, side, side)``.
        paths: the cheapest path, 0 and 1, uint8 ``(N, side, side)``.
    """

    maps: Array
    weights: Array
    paths: Array


class _Numbers(NamedTuple):
    """Uniform random numbers of some maps: lattices of two octaves, jitter, tiles, whole maps, pixels."""

    coarse: Array
    fine: Array
    jitter: Array
    variant: Array
    brightness: Array
    speckle: Array


def terrain_block(stream: Sequence[int], index: Array, side: int, tile: int, attempt: int = 0) -> TerrainBlock:
    """The maps of these numbers; each is a function of the stream and its own number alone.

    A map whose cheapest path is not unique is thrown away, and made anew from ``attempt + 1``.

    Args:
        stream: seeds.
        index: numbers of the maps, ``(N,)``.
        side: cells along a side.
        tile: pixels along a cell.
        attempt: how often these maps were thrown away.
    """
    numbers = _drawn([(*stream, int(i), attempt) for i in index], side, tile)
    terrain = _terrains(numbers, side)
    # the label is that of the costs as they are stored
    weights = (COSTS[terrain] + JITTER * numbers.jitter).astype(np.float32)
    solved = cheapest_paths(weights)
    block = TerrainBlock(_picture(terrain, numbers, tile), weights, solved.paths)
    if not solved.unique.all():
        tied = ~solved.unique
        for part, again in zip(block, terrain_block(stream, index[tied], side, tile, attempt + 1), strict=True):
            part[tied] = again
    return block


def _drawn(keys: list[tuple[int, ...]], side: int, tile: int) -> _Numbers:
    coarse, fine = side // 4 + 2, side // 2 + 2
    shapes = [(2, coarse, coarse), (2, fine, fine), (side, side), (side, side), (1, 1), (side * tile, side * tile)]
    sizes = [int(np.prod(shape)) for shape in shapes]
    drawn = np.stack([np.random.default_rng(key).random(sum(sizes)) for key in keys])
    parts = np.split(drawn, np.cumsum(sizes)[:-1], axis=1)
    return _Numbers(*(part.reshape(len(keys), *shape) for part, shape in zip(parts, shapes, strict=True)))


def _terrains(numbers: _Numbers, side: int) -> Array:
    """The lowest cells are water, the highest lava and rock; between them the dry ones are grass, the others forest."""
    fields = _spread(numbers.coarse, side) + 0.5 * _spread(numbers.fine, side)  # (N, 2, side, side)
    height, moisture = fields.reshape(len(fields), 2, -1).swapaxes(0, 1)  # (N, cells) each
    water, grass, forest, rock = np.cumsum(np.round(SHARES[:4] * side**2).astype(int))
    rank = _rank(height)
    land = (rank >= water) & (rank < forest)
    dry = _rank(np.where(land, moisture, np.inf)) < grass - water
    kinds = [rank < water, land & dry, land, rank < rock]
    return np.select(kinds, [0, 1, 2, 3], default=4).reshape(-1, side, side)


def _rank(values: Array) -> Array:
    return values.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")


def _spread(lattice: Array, side: int) -> Array:
    """Value noise: smooth interpolation of a square lattice to ``side`` points in either direction."""
    place = (np.arange(side) + 0.5) / side * (lattice.shape[-1] - 1)
    low = np.floor(place).astype(int)
    step = place - low
    smooth = step * step * (3 - 2 * step)
    return _between(_between(lattice, low, smooth, -1), low, smooth, -2)


def _between(values: Array, low: Array, share: Array, axis: int) -> Array:
    """``(1 - share) values[low] + share values[low + 1]``, elementwise, so that every machine rounds alike."""
    share = share if axis == -1 else share[:, None]
    lower, upper = np.take(values, low, axis), np.take(values, low + 1, axis)
    return lower + share * (upper - lower)


def _picture(terrain: Array, numbers: _Numbers, tile: int) -> Array:
    """Tiles of one colour, each a little other, with grain and soft borders; some maps are darker than others."""
    tint = 1 + VARIANT * (numbers.variant.astype(np.float32) - 0.5)
    colours = np.moveaxis(COLOURS[terrain] * tint[..., None], -1, 1)  # (N, 3, side, side)
    picture = (1 - SOFTNESS) * _enlarged(colours, tile) + SOFTNESS * _blended(colours, tile)
    grain = _enlarged(ROUGHNESS[terrain], tile) * (numbers.speckle.astype(np.float32) - 0.5)
    light = 1 + BRIGHTNESS * (numbers.brightness.astype(np.float32) - 0.5)
    picture *= ((1 + grain) * light)[:, None]
    return np.moveaxis(np.clip(np.round(picture), 0, 255).astype(np.uint8), 1, -1)


def _enlarged(values: Array, tile: int) -> Array:
    return values.repeat(tile, axis=-1).repeat(tile, axis=-2)


def _blended(values: Array, tile: int) -> Array:
    """Bilinear interpolation between the middles of tiles."""
    side = values.shape[-1]
    place = np.clip((np.arange(side * tile) + 0.5) / tile - 0.5, 0, side - 1)
    low = np.minimum(np.floor(place).astype(int), side - 2)
    share = (place - low).astype(np.float32)
    return _between(_between(values, low, share, -1), low, share, -2)
