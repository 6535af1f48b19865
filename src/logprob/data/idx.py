"""The idx format of MNIST: a magic number, the dimensions, and unsigned bytes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logprob.data.files import CorruptDataError, read_bytes

UNSIGNED_BYTE = 0x08


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, gzipped or not.

    Header, big-endian: two zero bytes, the type (8 = unsigned byte), the number of dimensions, then each
    dimension as a 32-bit integer; the entries follow in C order.

    Returns: read-only array, uint8, of the dimensions the header states.

    Raises:
        CorruptDataError: if it is no idx file of unsigned bytes, or has more or fewer bytes than its header
            states.
    """
    content = read_bytes(Path(path))
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTE or content[3] == 0:
        raise CorruptDataError(
            f"{path}: expected an idx file of unsigned bytes (00 00 08, then the number of dimensions), "
            f"found {content[:4].hex(' ') or 'an empty file'}"
        )
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], dtype=">u4").astype(int).tolist() if len(content) >= start else []
    if len(content) - start != math.prod(shape) or not shape:
        raise CorruptDataError(
            f"{path}: header states shape {tuple(shape)}, so {start + math.prod(shape)} bytes; found {len(content)}"
        )
    entries: NDArray[Any] = np.frombuffer(content, dtype=np.uint8, offset=start)
    return entries.reshape(shape)
