"""How much a few labels tell a linear classifier, on learned features of classes that were not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from logprob.data import Dataset
from logprob.experiments.studies.base import Cell, Row, Study, Workbench
from logprob.experiments.studies.pretraining import Energy, ImageEnergies, Kind, Labels, Protocol, features_of_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS = "pixels"
AUDITED: tuple[str, ...] = ("conditional", "unconditional", "random", PIXELS)
PAPER: tuple[str, ...] = ("conditional", "unconditional")
Array = NDArray[Any]


@dataclass(frozen=True)
class SemiSupervisedStudy(Study):
    """Train energies on some labels, and classify images of the others by a linear classifier on their features.

    The rows are the *test* images of the unseen labels. Features are standardised, a linear support vector machine is
    fitted to some of the rows and scored on the rest. Compared are the features of a conditional and of an
    unconditional energy and, as controls, of an untrained network, and the pixels themselves.

    ========= ========================================================================================
    protocol  what is done
    ========= ========================================================================================
    audited   ``splits`` stratified splits, the same for all features; features in evaluation mode; controls;
              standardised by the rows that the classifier is fitted to
    paper     one split, repeated with features that dropout and batch normalisation change, of pixels in [0, 1]
              instead of the [0, 1) of training; standardised by all rows; no controls
    ========= ========================================================================================

    Args:
        images: data, network and training.
        protocol: see above.
        seeds: how many networks of each kind; the study's seed and those after it.
        seen: labels that the energies are trained on.
        unseen: labels to classify.
        test: fraction of the rows that is held out from the classifier.
        splits: number of random splits, audited.
        repeats: number of noisy repeats, as published.
        fitted: rows that the classifier is fitted to, stratified; all that are not held out if unset. Audited only.

    Raises:
        ValueError: for a number out of its range, or another protocol.

    References:
        Khemakhem, Monti, Kingma and Hyvarinen, "ICE-BeeM", NeurIPS 2020, section 4.
    """

    images: ImageEnergies = ImageEnergies()  # noqa: RUF009  (frozen)
    protocol: Protocol = "audited"
    seeds: int = 3
    seen: Labels = "0-7"
    unseen: Labels = "8-9"
    test: float = 0.15
    splits: int = 20
    repeats: int = 5
    fitted: int | None = None

    def __post_init__(self) -> None:
        if min(self.seeds, self.splits, self.repeats) < 1 or not 0 < self.test < 1:
            raise ValueError("expected seeds, splits and repeats of at least 1 and test in (0, 1)")
        if self.protocol not in ("audited", "paper"):
            raise ValueError(f"protocol must be 'audited' or 'paper', got {self.protocol!r}")

    def cells(self, seed: int) -> Sequence[Cell]:
        """One for each kind of features and each seed; pixels have one."""
        kinds = AUDITED if self.protocol == "audited" else PAPER
        return [
            Cell(f"{kind}-s{number}", {"features": kind, "seed": number})
            for kind in kinds
            for number in range(seed, seed + (1 if kind == PIXELS else self.seeds))
        ]

    def run(self, cell: Cell, bench: Workbench) -> Sequence[Row]:
        """Train one network and classify; a row for each split or repeat."""
        kind, seed = cell.settings["features"], cell.settings["seed"]
        model = None if kind == PIXELS else self._model(kind, seed, bench)
        audited = self.protocol == "audited"
        data = self.images.load(bench, self.unseen, dequantise="middle" if audited else "none")
        accuracies = self._audited(model, data) if audited else self._published(model, data)
        said = {
            "scored": "features" if kind == PIXELS else "energy.f",
            "selection": "none",
            "data": data.name,
            "data_sha256": data.content_sha256,
        }
        return [{"split": number, "accuracy": value, **said} for number, value in enumerate(accuracies)]

    def _model(self, kind: Kind, seed: int, bench: Workbench) -> Energy:
        source = self.images.load(bench, self.seen)
        return self.images.pretrained(kind, self.seen, seed, bench, self.protocol, source)

    def _audited(self, model: Energy | None, data: Dataset) -> Iterator[float]:
        from sklearn.model_selection import StratifiedShuffleSplit

        x, y = data.test.x, _labels(data.test.target)
        features = (x if model is None else features_of_rows(model, x)).double().numpy()
        splitter = StratifiedShuffleSplit(self.splits, test_size=self.test, train_size=self.fitted, random_state=0)
        for fitted, held_out in splitter.split(features, y):
            scaled = _standardised(features, fitted)
            yield accuracy(scaled[fitted], y[fitted], scaled[held_out], y[held_out])

    def _published(self, model: Energy | None, data: Dataset) -> Iterator[float]:
        from sklearn.model_selection import train_test_split

        assert model is not None
        y = _labels(data.test.target)
        for _ in range(self.repeats):
            features = features_of_rows(model, data.test.x, "train", self.images.batch_size).double().numpy()
            scaled = _standardised(features, np.arange(len(y)))
            yield accuracy(*_in_order(*train_test_split(scaled, y, test_size=self.test, random_state=0)))

    def table(self, rows: Sequence[Row]) -> Mapping[str, Mapping[str, float]]:
        """Mean accuracy by kind of features, the standard deviation over all rows, and that of the seeds' means."""
        columns: dict[str, dict[str, float]] = {"accuracy": {}, "sd": {}, "sd of seeds": {}}
        for kind, by_seed in accuracies_by_seed(rows).items():
            means = [float(np.mean(values)) for values in by_seed.values()]
            columns["accuracy"][kind] = float(np.mean(means))
            columns["sd"][kind] = float(np.std([value for values in by_seed.values() for value in values]))
            columns["sd of seeds"][kind] = float(np.std(means, ddof=1)) if len(means) > 1 else 0.0
        return columns

    def drawings(self, rows: Sequence[Row]) -> Mapping[str, Callable[[], Figure]]:
        """Accuracies of all splits, by kind of features."""
        from logprob.experiments.figures.representation import accuracy_boxes

        return {"accuracy.png": lambda: accuracy_boxes(accuracies_by_seed(rows))}

    def small(self) -> Mapping[str, Any]:
        """One seed and two splits."""
        return {"seeds": 1, "splits": 2, "repeats": 2, "fitted": None}


def accuracies_by_seed(rows: Sequence[Row]) -> dict[str, dict[int, list[float]]]:
    """Accuracies of rows of :class:`SemiSupervisedStudy` by kind of features and seed."""
    groups: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        groups.setdefault(str(row["features"]), {}).setdefault(int(row["seed"]), []).append(float(row["accuracy"]))
    return groups


def accuracy(fitted: Array, fitted_labels: Array, held_out: Array, labels: Array) -> float:
    """Share of held-out rows that a linear support vector machine gets right; it is the same at every call."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of iterations is part of the protocol
        classifier = LinearSVC(random_state=0, max_iter=2000).fit(fitted, fitted_labels)
    return float(classifier.score(held_out, labels))


def _standardised(features: Array, rows: Array) -> Array:
    """Mean 0 and deviation 1 over some rows; constant columns are only shifted."""
    spread = features[rows].std(0)
    return (features - features[rows].mean(0)) / np.where(spread > 0, spread, 1)


def _in_order(x: Array, x_test: Array, y: Array, y_test: Array) -> tuple[Array, Array, Array, Array]:
    return x, y, x_test, y_test


def _labels(target: Tensor | None) -> Array:
    assert isinstance(target, torch.Tensor)
    return target.numpy()
