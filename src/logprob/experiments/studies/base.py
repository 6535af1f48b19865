"""A study: several trainings whose numbers stand in one table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One piece of a study that is done in one go, or not at all.

    Args:
        name: its name in the study; a study that is taken up again skips the names that it has finished.
        settings: what is peculiar to it.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Workbench:
    """Where and on what a study works.

    Args:
        folder: for what cells leave for later cells; whatever is there was written whole.
        seed: of the study; its cells count on from it.
        data_root: folder of data files, looked into first.
        device: for networks.
        smoke: whether data are to be replaced by few rows that stand in for them.
    """

    folder: Path
    seed: int = 0
    data_root: str | Path | None = None
    device: str = "cpu"
    smoke: bool = False


class Study(ABC):
    """Several trainings whose numbers stand in one table.

    A study is cheap to make and holds plain values. Its cells are run one after the other, in their order, each from
    the same state of the random numbers; what a cell says is written before the next one begins.
    """

    @abstractmethod
    def cells(self, seed: int) -> Sequence[Cell]:
        """Its cells, of names that differ, in the order in which they are run."""

    @abstractmethod
    def run(self, cell: Cell, bench: Workbench) -> Sequence[Row]:
        """Do what a cell stands for.

        Returns:
            Rows of plain values: what the numbers are of, and the numbers. ``data`` and ``data_sha256`` name the data.
        """

    @abstractmethod
    def table(self, rows: Sequence[Row]) -> Mapping[str, Mapping[str, float]]:
        """Numbers of all rows put together, ``{column: {line: number}}``."""

    def drawings(self, rows: Sequence[Row]) -> Mapping[str, Callable[[], Figure]]:
        """Figures of all rows, by file name; by default none."""
        return {}

    @abstractmethod
    def small(self) -> Mapping[str, Any]:
        """Plain values of its arguments with which it has few cells, for a smoke run; there ``bench.smoke`` is set."""
