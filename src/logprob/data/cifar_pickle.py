"""The pickled batches of CIFAR-10 and CIFAR-100, read without letting them run anything.

Unpickling calls what the file names. Here a file can name three things of numpy, and gets plain recorders in their
place; the pixels are then taken from the recorded bytes.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logprob.data.files import CorruptDataError, read_bytes


class _Recorded:
    """Keeps what a constructor and ``__setstate__`` would have been given."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Recorded):
    pass


class _Type(_Recorded):
    pass


_NAMES = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,  # written by numpy 2
    "numpy.ndarray": None,  # only ever an argument of the above
    "numpy.dtype": _Type,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a batch of images") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("persistent objects have no place in a batch of images")


def read_cifar_pickle(path: Path, labels: str = "labels") -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels and labels of one file.

    Args:
        path: of the file.
        labels: their key in it; CIFAR-100 has "fine_labels" and "coarse_labels".

    Returns: read-only uint8 ``(N, 3072)``, all of the red plane first, and int64 ``(N,)``.

    Raises:
        CorruptDataError: if the file names anything but a numpy array of unsigned bytes, or is no such batch.
    """
    try:
        content = _Unpickler(io.BytesIO(read_bytes(path)), encoding="bytes").load()
        batch = {_text(key): value for key, value in content.items()}
        pixels, numbers = _bytes_of(batch["data"]), np.array(batch[labels], dtype=np.int64)
    except Exception as error:  # a damaged pickle may raise nearly anything
        reason = f"expected a pickled batch with data and {labels}; {type(error).__name__}: {error}"
        raise CorruptDataError(f"{path}: {reason}") from error
    return pixels, numbers


def _text(key: bytes | str) -> str:
    return key.decode("ascii") if isinstance(key, bytes) else str(key)


def _bytes_of(array: Any) -> NDArray[np.uint8]:
    if not isinstance(array, _Array):
        raise TypeError(f"data is no array but {type(array).__name__}")
    _, shape, kind, fortran, content = array.state
    if not isinstance(kind, _Type) or _text(kind.arguments[0]) != "u1" or not isinstance(content, bytes):
        raise TypeError("data is no array of unsigned bytes")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")
