"""The binary density estimation benchmarks (DEBD): twenty-odd sets of 0/1 rows with official splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from logprob.data.base import Dataset, DataSource
from logprob.data.files import CorruptDataError, FoundFiles, Origin, array_sha256, find_files, read_bytes
from logprob.data.names import check_name
from logprob.data.splits import Splits, batches, provenance
from logprob.data.stand_ins import generated_codes

RULE = "debd/1"
SPLITS = ("train", "valid", "test")


class _Known(NamedTuple):
    """Variables, rows of each split, and the SHA-256 of each split's bytes 0 and 1 in row order."""

    variables: int
    rows: tuple[int, int, int]
    sha256: tuple[str, str, str]


_KNOWN = {
    "accidents": _Known(
        111,
        (12758, 1700, 2551),
        (
            "b63961d2d3f58e9483548eb1934bcce59a0eddfedd68890d9ce6b94ece97802d",
            "ce07b64803467d02eacb70ff18e5e0057c2b590a583ea6535b8942dd28628641",
            "308dc0ef11aaf82f64f0dd75aadb2a711e8a8ce2ab43d402bdc336de6e90ac0b",
        ),
    ),
    "baudio": _Known(
        100,
        (15000, 2000, 3000),
        (
            "3be82f2593dc3104bc0019a83e063e96c864ad4a67c4e7868a2fb08fb354a836",
            "277ee26b24f409d062d196bfc5ddc683f28faa4f8f5f54f628b0d847f6b3d4c8",
            "7462f3e8a88c8e97323c5fc800825369d34094f393b91b1e666e671b25e8968a",
        ),
    ),
    "bbc": _Known(
        1058,
        (1670, 225, 330),
        (
            "d260825f32ad95480646427b498939bc55ae40c5635587d955747770bad05e91",
            "6550e6b4d2cb71166c66b9b7942cfbe7673ba9efcd3ad072f8c9e86f10fac5f0",
            "07cf5db4a878506186fe662aaa40a49bbd80bbb03564bed681ec182e451b2929",
        ),
    ),
    "bnetflix": _Known(
        100,
        (15000, 2000, 3000),
        (
            "6013fcb9834163ed7a7c8b03474fc6d363883e7bde53591b8439bfb167da0671",
            "4dae5d88385e9d91d7454ad4ffb50953de751a21a1d8e900a4c23eb09a9256d8",
            "a918f58e5025afa36918b3cc6dc8f2de78f0d754179e56a8866129a234b49e04",
        ),
    ),
    "moviereview": _Known(
        1001,
        (1600, 150, 250),
        (
            "b282fb31316d4b0f1f40d70e8a1f35176907cc6f704ad3f43aa011fc9915a5a5",
            "8c2fb9689bb853105a60f74776fc7de665f242b73c25902b1f5039b44461c263",
            "3d7f6884a802a5e73f8be06bb19714e56c66ba7d971abf0dc2dc693e3ae5c277",
        ),
    ),
    "mushrooms": _Known(
        112,
        (2000, 500, 5624),
        (
            "bdc96ef5b74d908aa8f0665aad1a060c95c29e3f0140e0c004f538785e7f37f4",
            "a02bb4bbe086e12738e27dca9436d43823ee5c6c6a2f684eb4eff51ebf924ecc",
            "02d2b76d77c88d8f7e9c4e5b6be68e16d242c5e9db55b16bea81a953c3823d3c",
        ),
    ),
    "nltcs": _Known(
        16,
        (16181, 2157, 3236),
        (
            "73385b66808848c9fb7380fbe1581f56108da45a2c07c3d6fa4049d84e573243",
            "41bb0f2f25694dbc5f9d29a1a01df5a0832b7dfaf113fc52726c691130798391",
            "72c1a049d0fa72c165ca12d830a7523f9e8365f25e4adb01f170c480dcded06a",
        ),
    ),
    "plants": _Known(
        69,
        (17412, 2321, 3482),
        (
            "3eaa89d06027568f7aea9f5ea3d64a0a81c6be2d146b5bbe8e012b76ce101f46",
            "eadd45dd8d884cf6e3cc0c88a0367ba44142e36bbcdf502c0e3cf461cb435bcd",
            "52371eb14299c29040c94af09a820d5a3f9038765174728cfcf14eaccc3c0369",
        ),
    ),
    "pumsb_star": _Known(
        163,
        (12262, 1635, 2452),
        (
            "b38d997f4bd7dc89c681cb3dd180376f18163370020f9f5348e83db5450cd2fe",
            "40f2e4404f51593f956f1b73db31060f2e087f783611ea19b097a639f144a125",
            "1b422a73117541309eacf9635ef3c3b19a2cc0eed0502e8d10a2d39bb78517cc",
        ),
    ),
}
_USUAL = (
    "msnbc",
    "kdd",
    "jester",
    "tretail",
    "dna",
    "kosarek",
    "msweb",
    "book",
    "tmovie",
    "cwebkb",
    "cr52",
    "c20ng",
)
_FURTHER = ("ad", "binarized_mnist", "ocr_letters", "adult", "connect4", "nips", "rcv1", "voting")
NAMES = tuple(sorted([*_KNOWN, *_USUAL, *_FURTHER]))


@dataclass(frozen=True)
class DEBD(DataSource):
    """One binary benchmark with its official split: ``x`` is ``(N, D)`` int64 of 0 and 1, ``categories=2``.

    Files: ``debd/<name>.<split>.data`` or ``[debd/]<name>/<name>.<split>.data`` for the splits train, valid
    and test, with or without ``.gz``; comma-separated 0/1. Shapes and content of the sets in the module's
    table are checked at every load; the others are loaded without, and their provenance says so.

    Args:
        name: "nltcs", "plants", ...; see ``logprob.data.debd.NAMES``.

    Raises:
        ValueError: if the name is unknown.

    References: Lowd and Davis, ICDM 2010; Van Haaren and Davis, AAAI 2012; Larochelle and Murray, AISTATS
    2011.

    Example:
        >>> DEBD("nltc")
        Traceback (most recent call last):
        ValueError: unknown DEBD set 'nltc'; did you mean 'nltcs'? known: accidents, ad, ...
    """

    name: str = "nltcs"

    def __post_init__(self) -> None:
        check_name("DEBD set", self.name, NAMES)

    def load(self, root: str | Path | None = None) -> Dataset:
        """Read the three files and check them.

        Raises:
            MissingDataError: if the files are not found.
            CorruptDataError: if a cell is not 0 or 1, or the content is not the declared one.
        """
        found = find_files(self._origin(), self._layouts(), root)
        splits = Splits(*(_read_binary(found.path(name)) for name in found.names))
        self._check(found, splits)
        return Dataset(
            self.name,
            *batches(part.astype(np.int64) for part in splits),
            categories=2,
            provenance=provenance(
                RULE,
                splits,
                {"rule": "official"},
                files=found.describe(),
                content_checked=self.name in _KNOWN,
            ),
        )

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """Generated rows, if the set is in the module's table; else the first rows of the files."""
        known = _KNOWN.get(self.name)
        if known is None:
            return super().stand_in(rows, root)
        return generated_codes(self.name, rows, known.variables, categories=2)

    def _origin(self) -> Origin:
        known = _KNOWN.get(self.name)
        expected = () if known is None else (f"{' + '.join(map(str, known.rows))} rows x {known.variables}",)
        return Origin(
            self.name,
            "datasets/ of the repository arranger1044/DEBD",
            licence="none stated; cite the original papers",
            substitute="Digits (64 discrete variables, from scikit-learn)",
            expected=expected,
        )

    def _layouts(self) -> list[list[str]]:
        stems = (f"debd/{self.name}", f"{self.name}/{self.name}", f"debd/{self.name}/{self.name}", self.name)
        return [[f"{stem}.{split}.data{end}" for split in SPLITS] for stem in stems for end in (".gz", "")]

    def _check(self, found: FoundFiles, splits: Splits) -> None:
        known = _KNOWN.get(self.name)
        for i, (name, part) in enumerate(zip(found.names, splits, strict=True)):
            if known is None:
                found.check(name, "number of variables", splits.train.shape[1], part.shape[1])
            else:
                found.check(name, "shape", (known.rows[i], known.variables), part.shape)
                found.check(name, "SHA-256 of the array", known.sha256[i], array_sha256(part))


def _read_binary(path: Path) -> NDArray[np.uint8]:
    """Rows of comma-separated 0/1, uint8 ``(N, D)``."""
    lines = read_bytes(path).split()
    lengths = {len(line) for line in lines}
    if len(lengths) != 1:
        raise CorruptDataError(f"{path}: expected rows of one length, found lengths {sorted(lengths) or 'of no row'}")
    characters = np.frombuffer(b"".join(lines), dtype=np.uint8).reshape(len(lines), -1)
    rows, separators = (
        characters[:, ::2] - ord("0"),
        characters[:, 1::2],
    )  # below "0" wraps around to a large number
    wrong = (rows > 1).any(axis=1)
    if characters.shape[1] % 2 == 0 or (separators != ord(",")).any() or wrong.any():
        row = lines[int(wrong.argmax())].decode("ascii", "replace")
        raise CorruptDataError(f"{path}: expected 0 and 1 with a comma between, found a row like {row[:40]!r}")
    return np.ascontiguousarray(rows)
