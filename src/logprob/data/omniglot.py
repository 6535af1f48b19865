"""Omniglot: handwritten characters of fifty alphabets, 28 x 28 pixels made from the 105 x 105 originals."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from logprob.data.base import Dataset, DataSource
from logprob.data.cache import Parsed, cached_parse
from logprob.data.files import CorruptDataError, FoundFiles, Origin, array_sha256, find_files
from logprob.data.names import check_name
from logprob.data.resampling import area_weights, bilinear_weights, resampled
from logprob.data.splits import Splits, batches, provenance, split_size
from logprob.data.stand_ins import generated_codes

RULE = "omniglot/1"
SIDE, SMALL = 105, 28
CHARACTERS, DRAWERS = (964, 659), 20  # background, evaluation
BACKGROUND = CHARACTERS[0] * DRAWERS
MOVED = 5_065  # evaluation images that the published split trains on
TRAIN = BACKGROUND + MOVED
# SHA-256 of the arrays of booleans
ARRAYS = (
    "97db6dcdf39955c3a949e197621f8f318092986b37e116c9b4996150e8d2d8a3",
    "a76180acf0908643e1a9494a1a841d2af4bbbbdc6d7e01e0db92eed7d1c6f902",
)
FILES = ("images_background.npz", "images_evaluation.npz")
# of one pixel: 225 = 15^2 quarters of a pixel, 64 = 8^2 eighths
LEVELS = {"standard": 225, "published": 64}


@dataclass(frozen=True)
class Omniglot(DataSource):
    """Omniglot as 784 integer grey levels a row, made from the 105 x 105 originals.

    ``Batch.x`` is ``(N, 784)`` int64 (``image_shape=(1, 28, 28)``, row-major), ``Batch.target`` the character 0..1622,
    those of the background set first. A side shrinks by 3.75, which makes grey levels of the black and white
    originals; both protocols know them exactly:

    - "standard": the share of ink in each small pixel's area, in 225ths, ink being 225 and paper 0 (226 categories).
      :class:`BinaryImages` of it is 1 where at least half of the area is ink.
    - "published": bilinear interpolation between the four originals around each small pixel's centre, in 64ths, *paper
      being 64* and ink 0 (65 categories). The other pixels are passed over, so that strokes of one
      width come out darker or paler.
      :class:`ScaledImages` of it are the grey images that were fed to a Bernoulli likelihood.

    Split: the 19,280 background images and 5,065 of the 13,180 evaluation images, in all 24,345, are train and
    validation; the other 8,115 evaluation images are test. Which 5,065 is ``RandomState(seed).permutation(13180)``;
    then ``valid`` random ones of the 24,345 validate, by the same stream. The published code took the first 5,065
    evaluation images in the (shuffled) order of its library, and had no validation images. The split of
    :class:`Omniglot28`, with 8,070 test images, is another one.

    Files: ``omniglot/images_background.npz`` and ``omniglot/images_evaluation.npz``, each with one array ``images`` of
    booleans, ``(964, 20, 105, 105)`` and ``(659, 20, 105, 105)``: character, drawer, row, column, True for paper.
    Their content is checked. What is made of it is kept in the cache folder.

    Args:
        protocol: "standard" or "published".
        valid: number of validation images, or a fraction below 1 of the 24,345; 1,345 are usual.
        seed: of the split.

    Raises:
        ValueError: if the protocol is unknown, or ``valid`` out of its range.

    References: Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program
    induction", Science, 2015. Published protocol: Potapczynski, Loaiza-Ganem and Cunningham, "Invertible Gaussian
    Reparameterization", NeurIPS 2020.

    Example:
        >>> Omniglot().stand_in(10).train.x.shape
        torch.Size([10, 784])
    """

    protocol: Literal["standard", "published"] = "standard"
    valid: float = 1_345
    seed: int = 0

    def __post_init__(self) -> None:
        check_name("protocol", self.protocol, LEVELS)
        split_size(self.valid, TRAIN, "valid")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read the files, or what was kept of them; check and split.

        Raises:
            MissingDataError: if the files are not found.
            CorruptDataError: if one cannot be read, or has not the declared content.
        """
        found = find_files(ORIGIN, [[folder + file for file in FILES] for folder in ("omniglot/", "")], root)
        files = found.describe()
        key = {"rule": RULE, "source": [entry["sha256"] for entry in files], "protocol": self.protocol}
        pixels, _ = cached_parse(key, lambda: self._parsed(found))
        index = _split(split_size(self.valid, TRAIN, "valid"), self.seed)
        rows = Splits(*(part.astype(np.int64) for part in index.of(pixels)))
        split = {"rule": "RandomState(seed): 5,065 evaluation images join the background; valid", "seed": self.seed}
        return Dataset(
            self._name,
            *batches(rows, [part // DRAWERS for part in index]),
            categories=LEVELS[self.protocol] + 1,
            image_shape=(1, SMALL, SMALL),
            provenance=provenance(RULE, rows, split, files=files, protocol=self.protocol),
        )

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Generated images of the right shape; no file is needed."""
        categories, labels = LEVELS[self.protocol] + 1, sum(CHARACTERS)
        return generated_codes(self._name, rows, SMALL**2, categories, image_shape=(1, SMALL, SMALL), labels=labels)

    @property
    def _name(self) -> str:
        return "omniglot" if self.protocol == "standard" else f"omniglot-{self.protocol}"

    def _parsed(self, found: FoundFiles) -> Parsed:
        """Grey levels of all images, background first, ``(32460, 784)``."""
        ink = [~images.reshape(-1, SIDE, SIDE) for images in _originals(found)]
        if self.protocol == "standard":
            weights, images = area_weights(SIDE, SMALL), ink
        else:
            weights, images = bilinear_weights(SIDE, SMALL), [~part for part in ink]
        return np.concatenate([resampled(part, weights).reshape(len(part), -1) for part in images]), {}


ORIGIN = Origin(
    "omniglot",
    "images_background and images_evaluation of the repository brendenlake/omniglot, as npz of booleans",
    licence="MIT (brendenlake/omniglot)",
    substitute="Digits (8x8 images of digits, from scikit-learn)",
    expected=(
        "964 x 20 and 659 x 20 images of 105x105 booleans, True for paper",
        "as packed by bitsandscraps/omniglot: 3,340,794 and 2,415,269 bytes, SHA-256 8bf84167... and 0b84c7ff...",
    ),
)


def _split(valid: int, seed: int) -> Splits:
    """Row numbers of the three splits, each in the order of the files."""
    stream = RandomState(seed)
    order = BACKGROUND + stream.permutation(CHARACTERS[1] * DRAWERS)
    pool = np.concatenate([np.arange(BACKGROUND), np.sort(order[:MOVED])])
    chosen = np.zeros(TRAIN, dtype=bool)
    chosen[stream.permutation(TRAIN)[:valid]] = True
    return Splits(pool[~chosen], pool[chosen], np.sort(order[MOVED:]))


def _originals(found: FoundFiles) -> list[NDArray[np.bool_]]:
    arrays = []
    for name, characters, sha256 in zip(found.names, CHARACTERS, ARRAYS, strict=True):
        try:
            # numpy leaves a file that it opened itself, and that is no archive, to the garbage collector
            with found.path(name).open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                images = content["images"]
        except (ValueError, KeyError, EOFError, OSError, BadZipFile, zlib.error) as error:
            raise CorruptDataError(f"{found.path(name)}: expected an npz with an array images; {error}") from error
        expected = ("bool", (characters, DRAWERS, SIDE, SIDE))
        found.check(name, "type and shape of images", expected, (str(images.dtype), images.shape))
        found.check(name, "SHA-256 of the array", sha256, array_sha256(images))
        arrays.append(images)
    return arrays
