"""A study for the tests of the runner: its cells count, and one of them can be told to fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from logprob.experiments.studies import Cell, Study, Workbench


@dataclass(frozen=True)
class TinyStudy(Study):
    sizes: Sequence[int] = (1, 2, 3)
    fail_if: str | None = None
    twice: bool = False

    def cells(self, seed):
        names = ["a" if self.twice else f"size-{size}" for size in self.sizes]
        return [Cell(name, {"size": size}) for name, size in zip(names, self.sizes, strict=True)]

    def run(self, cell: Cell, bench: Workbench) -> Sequence[Mapping[str, Any]]:
        if self.fail_if is not None and Path(self.fail_if).exists() and cell.settings["size"] == 2:
            raise ValueError("size 2\nis not liked")
        (bench.folder / cell.name).write_text("kept")
        value = cell.settings["size"] + torch.rand(()).item()
        said = {"scored": "energy.f", "selection": "heldout", "data": "numbers", "data_sha256": "00"}
        return [{"value": value, "smoke": bench.smoke, "seed": bench.seed, **said}]

    def table(self, rows):
        return {"value": {str(row["size"]): row["value"] for row in rows}}

    def drawings(self, rows) -> Mapping[str, Callable[[], Any]]:
        from logprob.experiments.figures.canvas import blank

        return {"values.png": lambda: blank(1, 1, (2, 2))[0]}

    def small(self):
        return {"sizes": [1]}
