"""Do two trainings learn the same features: as they are, or up to a linear map?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from logprob.data import Dataset
from logprob.experiments.seeding import seed_everything
from logprob.experiments.studies.base import Cell, Row, Study, Workbench
from logprob.experiments.studies.pretraining import ImageEnergies, Kind, Protocol, features_of_rows
from logprob.metrics import representation_pairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AUDITED: tuple[Kind, ...] = ("conditional", "unconditional", "random")
PAPER: tuple[Kind, ...] = ("conditional", "unconditional")
SUMMARY = ("mean", "median", "std", "best", "second best", "second worst", "worst")


@dataclass(frozen=True)
class RepresentationStudy(Study):
    """Train energies on all labels from several seeds, and compare the features of every two of them on test images.

    *Strong*: mean correlation of features as they are, matched one to one. *Weak*: that of canonical variates, of
    features up to a linear map. Either is of one half of the test rows, on which it is fitted (in), and of the other
    (out), by the matching of the first.

    ========= ========================================================================================
    protocol  what is done
    ========= ========================================================================================
    audited   random halves; evaluation mode; several numbers of canonical variates; pairs of untrained networks
              as the floor, which is far from 0: features of the same images correlate whatever made them
    paper     first and last half; features in training mode, of pixels in [0, 1]; 20 canonical variates; the outer
              half is matched anew
    ========= ========================================================================================

    Args:
        images: data, network and training.
        protocol: see above.
        seeds: how many networks of each kind, at least 2; the study's seed and those after it.
        dimensions: numbers of canonical variates, audited.

    Raises:
        ValueError: for a number out of its range, or another protocol.

    References:
        Khemakhem, Monti, Kingma and Hyvarinen, "ICE-BeeM", NeurIPS 2020, section 4.
    """

    images: ImageEnergies = ImageEnergies()  # noqa: RUF009  (frozen)
    protocol: Protocol = "audited"
    seeds: int = 10
    dimensions: Sequence[int] = (5, 10, 20, 40)

    def __post_init__(self) -> None:
        if self.seeds < 2 or not self.dimensions or min(self.dimensions) < 1:
            raise ValueError("expected at least 2 seeds, and dimensions of at least 1")
        if self.protocol not in ("audited", "paper"):
            raise ValueError(f"protocol must be 'audited' or 'paper', got {self.protocol!r}")

    def cells(self, seed: int) -> Sequence[Cell]:
        """A training for each kind and seed, and then the pairs of each kind."""
        kinds = AUDITED if self.protocol == "audited" else PAPER
        trained = [
            Cell(f"{kind}-s{number}", {"kind": kind, "seed": number})
            for kind in kinds
            if kind != "random"
            for number in range(seed, seed + self.seeds)
        ]
        return [*trained, *(Cell(f"{kind}-pairs", {"kind": kind}) for kind in kinds)]

    def run(self, cell: Cell, bench: Workbench) -> Sequence[Row]:
        """Train one network, or compare all of a kind; a row for each pair and number of variates."""
        data = self.images.load(bench, None)
        kind = cell.settings["kind"]
        if "seed" in cell.settings:
            self.images.pretrained(kind, None, cell.settings["seed"], bench, self.protocol, data)
            return []
        return self._pairs(kind, data, bench)

    def _pairs(self, kind: Kind, data: Dataset, bench: Workbench) -> list[dict[str, Any]]:
        audited = self.protocol == "audited"
        shown = self.images.load(bench, None, dequantise="middle" if audited else "none").test.x
        seeds = range(bench.seed, bench.seed + self.seeds)
        tables = [self._features(kind, seed, shown, data, bench) for seed in seeds]
        halves, dimensions = ("random", list(self.dimensions)) if audited else ("first", [20])
        said = {"scored": "energy.f", "selection": "none", "data": data.name, "data_sha256": data.content_sha256}
        found = representation_pairs(tables, dimension=dimensions, halves=halves, generator=bench.seed)  # type: ignore[arg-type]
        rows = []
        for pair in found:
            strong, weak = (
                (one.inside, one.outside if audited else one.reassigned) for one in (pair.strong, pair.weak)
            )
            numbers = {"strong_in": strong[0], "strong_out": strong[1], "weak_in": weak[0], "weak_out": weak[1]}
            rows.append({"first": pair.first, "second": pair.second, "dimension": pair.dimension, **numbers, **said})
        return rows

    def _features(self, kind: Kind, seed: int, x: Tensor, data: Dataset, bench: Workbench) -> Tensor:
        model = self.images.pretrained(kind, None, seed, bench, self.protocol, data)
        seed_everything(seed)  # dropout differs from network to network
        audited = self.protocol == "audited"
        features = (
            features_of_rows(model, x) if audited else features_of_rows(model, x, "train", self.images.batch_size)
        )
        return features.to(torch.float64)

    def table(self, rows: Sequence[Row]) -> Mapping[str, Mapping[str, float]]:
        """Over pairs: mean, median, deviation, the two best and the two worst, of the half that was not fitted."""
        return {name: summary(values) for name, values in agreements(rows, "out").items()}

    def drawings(self, rows: Sequence[Row]) -> Mapping[str, Callable[[], Figure]]:
        """Box plots over pairs of both halves, and the sweep over numbers of canonical variates."""
        from logprob.experiments.figures.representation import agreement_boxes, dimension_sweep

        inside, outside = agreements(rows, "in"), agreements(rows, "out")
        figures = {"agreement.png": lambda: agreement_boxes(inside, outside)}
        return figures if self.protocol == "paper" else {**figures, "dimensions.png": lambda: dimension_sweep(rows)}

    def small(self) -> Mapping[str, Any]:
        """Two seeds and two dimensions."""
        return {"seeds": 2, "dimensions": [2, 4]}


def agreements(rows: Sequence[Row], half: str) -> dict[str, list[float]]:
    """Strong and weak scores of all pairs by kind, of one half; weak for each number of variates.

    Args:
        rows: of :class:`RepresentationStudy`.
        half: "in" or "out".
    """
    found: dict[str, list[float]] = {}
    lowest: dict[str, int] = {}
    for row in rows:
        kind, size = str(row["kind"]), int(row["dimension"])
        if lowest.setdefault(kind, size) == size:  # strong does not depend on it
            found.setdefault(f"{kind}, strong", []).append(float(row[f"strong_{half}"]))
        found.setdefault(f"{kind}, weak {size}", []).append(float(row[f"weak_{half}"]))
    return found


def summary(values: Sequence[float]) -> dict[str, float]:
    """Mean, median, deviation, two largest and two smallest.

    Example:
        >>> summary([0.25, 0.75, 0.5])["second best"], summary([1.0])["std"]
        (0.5, 0.0)
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    second = min(1, len(ordered) - 1)
    numbers = (ordered.mean(), np.median(ordered), ordered.std(), ordered[-1], ordered[-1 - second], ordered[second])
    return {name: float(value) for name, value in zip(SUMMARY, (*numbers, ordered[0]), strict=True)}
