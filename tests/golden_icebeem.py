"""Read the reference files of tests/golden/icebeem."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "golden" / "icebeem"


def load(name):
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.as_tensor(np.asarray(value)) for key, value in file.items()}
