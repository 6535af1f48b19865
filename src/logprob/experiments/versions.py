"""With what, from what and on what a run was made."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

import logprob
from logprob.batch import Batch
from logprob.data import Dataset


def versions() -> dict[str, Any]:
    """Versions of what computes, and the commit of logprob if it runs from a checkout."""
    return {
        "logprob": logprob.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "git": git_commit(),
    }


def git_commit() -> dict[str, Any] | None:
    """Commit of the checkout that logprob runs from, and whether it was changed; None outside a checkout."""
    folder = Path(logprob.__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):  # installed into an environment that lies inside another checkout
            return None
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Name, shape, splits, standardisation, provenance and content hash of a data set."""
    splits = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    transform = dataset.transform
    return {
        "name": dataset.name,
        "variables": dataset.variables,
        "categories": dataset.categories,
        "image_shape": dataset.image_shape,
        "rows": {name: len(rows.x) for name, rows in splits.items()},
        "sha256": {name: content_hash(rows) for name, rows in splits.items()},
        "standardisation": None if transform is None else describe_transform(transform),
        "provenance": dataset.provenance,
    }


def describe_transform(transform: Any) -> dict[str, Any]:
    """Class and tensors of a transform, as numbers."""
    tensors = {name: value.tolist() for name, value in vars(transform).items() if isinstance(value, torch.Tensor)}
    return {"transform": type(transform).__name__} | tensors


def content_hash(rows: Batch) -> str:
    """SHA-256 of the bytes of all parts of a split."""
    total = hashlib.sha256()
    for part in rows:
        if part is not None:
            total.update(f"{part.dtype} {tuple(part.shape)}".encode())
            total.update(part.contiguous().numpy().tobytes())
    return total.hexdigest()
