"""Checkpoints: one safetensors file each, complete in itself and with a checksum."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from logprob.experiments.errors import RunError
from logprob.experiments.files import write_atomically, writing
from logprob.experiments.packing import pack, unpack

SUFFIX = ".safetensors"


def save_checkpoint(folder: Path, name: str, state: dict[str, Any], keep: str | None = None) -> None:
    """Write ``state`` to ``folder/name.safetensors``, whole or not at all.

    Args:
        folder: where checkpoints are.
        name: such as ``"last"``.
        state: nested dicts and lists of tensors and plain values.
        keep: name under which the checkpoint that was there before stays.

    Raises:
        RunError: if it cannot be written; the checkpoints that are there stay as they are.
    """
    path = folder / f"{name}{SUFFIX}"
    values, tensors = pack(state)
    text = json.dumps(values, allow_nan=False)
    content = save_tensors(tensors, {"state": text, "sha256": _digest(text, tensors)})
    fresh = folder / f".{name}.new"
    write_atomically(fresh, content)
    with writing(path):
        # Between the two renames only `keep` exists; `latest_checkpoint` knows.
        if keep is not None and path.exists():
            os.replace(path, folder / f"{keep}{SUFFIX}")
        os.replace(fresh, path)


def load_checkpoint(folder: Path, name: str) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote.

    Raises:
        RunError: if the file is missing, truncated or changed; it names the checkpoints that are intact.
    """
    path = folder / f"{name}{SUFFIX}"
    try:
        return read_checkpoint(path)
    except FileNotFoundError:
        problem = f"no checkpoint {path}"
    except (ValueError, OSError) as error:
        problem = f"checkpoint {path} is damaged: {error}"
    intact = [other for other in checkpoint_names(folder) if other != name and _is_intact(folder, other)]
    advice = f"; intact: {', '.join(intact)} (use --checkpoint {intact[0]})" if intact else "; no other is intact"
    raise RunError(problem + advice)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify one file; ValueError if it is damaged."""
    content = path.read_bytes()
    try:
        tensors = load_tensors(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        text, expected = header["__metadata__"]["state"], header["__metadata__"]["sha256"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"truncated or not a checkpoint ({error})") from None
    if _digest(text, tensors) != expected:
        raise ValueError("its checksum does not match its content")
    return unpack(json.loads(text), tensors)


def checkpoint_names(folder: Path) -> list[str]:
    """Names of the checkpoints in ``folder``: last, previous, best first."""
    order = ["last", "previous", "best"]
    names = [path.stem for path in folder.glob(f"*{SUFFIX}")]
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def latest_checkpoint(folder: Path) -> str:
    """``"last"``, or ``"previous"`` where a write was cut off between its two renames."""
    return "last" if "last" in checkpoint_names(folder) or "previous" not in checkpoint_names(folder) else "previous"


def _is_intact(folder: Path, name: str) -> bool:
    try:
        read_checkpoint(folder / f"{name}{SUFFIX}")
    except (ValueError, OSError):
        return False
    return True


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
