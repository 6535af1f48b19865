"""A small recipe, and the folder of the small models on the import path, here and in subprocesses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")]))
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def recipe() -> dict[str, Any]:
    """Two epochs of a tiny Gaussian, as plain values."""
    return {
        "title": "Tiny",
        "data": "TinyRows",
        "model": {"class_path": "TinyGaussian", "init_args": {"noise": 0.1}},
        "phases": [
            {
                "objective": "NegativeLogLikelihood",
                "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.05}},
                "batch_size": 24,
                "epochs": 2,
            }
        ],
        "imports": ["tiny"],
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """Write a recipe to a file and give its path."""
    from logprob.experiments.yaml_text import write_yaml

    def write(values: dict[str, Any]) -> str:
        path = tmp_path / "tiny.yaml"
        path.write_text(write_yaml(values))
        return str(path)

    return write
