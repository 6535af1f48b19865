"""How well estimators find the sources of nonlinear ICA, beside the controls without which a score means nothing."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import TransformerMixin

from logprob.data import NonlinearICA, content_sha256, ica
from logprob.estimators import PublishedSchedule
from logprob.experiments.studies.base import Cell, Row, Study, Workbench
from logprob.metrics import mcc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Law = Literal["tcl", "imca"]
Estimate = Literal["sources", "moduli"]
Protocol = Literal["audited", "paper"]
Candidates = Mapping[str, Array]  # features by the name of the stage or the read-out

TARGETS = {"s": "identity", "|s|": "abs", "s^2": "square"}
TARGET_FILES = {"s": "sources", "|s|": "moduli", "s^2": "squares"}
MEASURES: tuple[Literal["pearson", "spearman"], ...] = ("pearson", "spearman")
NULLS: tuple[Literal["rows", "within"], ...] = ("rows", "within")
SHORT = PublishedSchedule(label_epochs=1, energy_epochs=1, rounds=1, fooling_epochs=1, round_epochs=1)
SMOKE: dict[str, Any] = {
    "steps": 2,
    "head_steps": 2,
    "noise_steps": 2,
    "noise_rows": 64,
    "batch_size": 16,
    "restarts": 2,
}
SMOKE |= {"blocks": 1, "schedule": SHORT}
FRESH = 1  # seed of the held-out rows, beside that of the data set


@dataclass(frozen=True)
class Reading:
    """One more line from the same fit.

    Args:
        name: of the line.
        method: of the estimator, called with x, or with x and y if it has an argument y.
        estimate: as in :class:`Method`.
    """

    name: str
    method: str
    estimate: Estimate = "sources"

    def __post_init__(self) -> None:
        _check_estimate(self.estimate)


@dataclass(frozen=True)
class Method:
    """An estimator as it stands in the table.

    Args:
        name: of its line.
        estimator: a scikit-learn estimator; each cell fits a clone of it. Its arguments ``layers`` and
            ``noise_layers``, where it has them, are set to the number of layers of the mixing.
        estimate: whether features estimate the sources, up to sign and scale, or their moduli. Of the former, ``|z|``
            is held against ``|s|`` and ``z^2`` against ``s^2``; of the latter, z is held against all three.
        control: whether it is there to be beaten.
        also: other lines from the same fit.
        oracle: name of a method of the estimator that returns features by name, called with x, or with x and y if it
            has an argument y. By the study's protocol "paper" the line's own scores are the highest over these. It
            must not be used for a claim: the true sources choose.
        changes: arguments of the estimator for one law and depth alone, such as ``{"imca-L2": {"hidden": 16}}``.

    Raises:
        ValueError: for an estimate of another name, or a method that the estimator does not have.
    """

    name: str
    estimator: TransformerMixin
    estimate: Estimate = "sources"
    control: bool = False
    also: Sequence[Reading] = ()
    oracle: str | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_estimate(self.estimate)
        for name in [self.oracle, *(reading.method for reading in self.also)]:
            if name is not None and not hasattr(self.estimator, name):
                raise ValueError(f"{type(self.estimator).__name__} has no method {name!r}")

    @property
    def readings(self) -> list[Reading]:
        """All lines of the fit."""
        return [Reading(self.name, "transform", self.estimate), *self.also]


@dataclass(frozen=True)
class RecoveryStudy(Study):
    """Fit estimators to generated data with known sources, and score what they find against ``s``, ``|s|`` and ``s^2``.

    Every (law, layers, rows per segment, seed, method) is a cell. Estimators see x and y only. They are scored on the
    rows that they were fitted to and on fresh rows of the same law, by the mean correlation coefficient with its two
    permutation nulls: rows, and rows within their segment. Nulls of a highest score are those of the highest score.

    The protocol "paper" is how results were published, to make them again, not to believe them: tables and pictures are
    of the rows that were fitted, and where a method has an ``oracle``, the true sources choose what is scored.

    Args:
        methods: the lines of the table.
        laws: "tcl", independent sources, and "imca", dependent ones.
        layers: numbers of layers of the mixing; 2 is one nonlinearity and a rotation.
        per_segment: rows of each segment to fit.
        segments: K.
        dim: d.
        seeds: how many; estimators take the study's seed and those after it.
        data_seed: of the one data set of each (law, layers, rows); None draws another one for every seed, 1 + seed.
        fresh: held-out rows of each segment.
        permutations: of each null; 0 for none.
        protocol: "audited" or "paper".

    Raises:
        ValueError: for a law or a protocol of another name.

    References:
        Khemakhem, Monti, Kingma and Hyvarinen, "ICE-BeeM", NeurIPS 2020.
    """

    methods: Sequence[Method]
    laws: Sequence[Law] = ("tcl", "imca")
    layers: Sequence[int] = (2, 4)
    per_segment: Sequence[int] = (100, 500, 2000)
    segments: int = 20
    dim: int = 5
    seeds: int = 5
    data_seed: int | None = None
    fresh: int = 500
    permutations: int = 200
    protocol: Protocol = "audited"

    def __post_init__(self) -> None:
        if self.protocol not in get_args(Protocol):
            raise ValueError(f"protocol must be one of {', '.join(get_args(Protocol))}, got {self.protocol!r}")
        unknown = sorted(set(self.laws) - set(get_args(Law)))
        if unknown:
            raise ValueError(f"laws must be of {', '.join(get_args(Law))}, got {unknown[0]!r}")

    def cells(self, seed: int) -> Sequence[Cell]:
        """One for each law, layers, rows, seed and method."""
        return [
            Cell(
                f"{law}-L{layers}-n{rows}-s{number}-{method.name}",
                {"law": law, "layers": layers, "per_segment": rows, "seed": number, "fit": method.name},
            )
            for law in self.laws
            for layers in self.layers
            for rows in self.per_segment
            for number in range(seed, seed + self.seeds)
            for method in self.methods
        ]

    def run(self, cell: Cell, bench: Workbench) -> Sequence[Row]:
        """Fit one estimator; a row for each of its read-outs."""
        settings = cell.settings
        method = next(method for method in self.methods if method.name == settings["fit"])
        data = self._data(settings)
        held_out = data.more(self.fresh, FRESH)
        changes = method.changes.get(f"{settings['law']}-L{settings['layers']}", {})
        estimator = ready(method.estimator, settings["seed"], settings["layers"], bench, changes)
        started = time.perf_counter()
        estimator.fit(data.x, data.y)
        seconds = time.perf_counter() - started
        shared = {
            "data": f"{data.name}-L{data.layers}-n{settings['per_segment']}-s{data.seed}",
            "data_sha256": content_sha256([data.x, data.y, held_out.x]),
            "control": method.control,
            "seconds": seconds,
        }
        if hasattr(estimator, "score"):  # rows as they are have none
            shared["fresh_score"] = float(estimator.score(held_out.x, held_out.y))
        rows = []
        for reading in method.readings:
            oracle = method.oracle if self.protocol == "paper" and reading.method == "transform" else None
            said = {"method": reading.name, **scored(estimator, reading), "selection": selection(estimator, oracle)}
            get = partial(candidates, estimator, reading.method, oracle)
            rows.append(said | shared | self._scores(reading.estimate == "sources", [data, held_out], get))
        return rows

    def table(self, rows: Sequence[Row]) -> Mapping[str, Mapping[str, float]]:
        """Mean over seeds of the Pearson scores, and the standard deviation of that against ``|s|``.

        On fresh rows; by the protocol "paper" on the rows that were fitted.
        """
        columns: dict[str, dict[str, float]] = {name: {} for name in (*TARGETS, "sd |s|", "seconds")}
        for line, group in grouped(rows).items():
            for target in TARGETS:
                columns[target][line] = float(np.mean([row[f"{self._shown}_{target}"] for row in group]))
            columns["sd |s|"][line] = float(np.std([row[f"{self._shown}_|s|"] for row in group]))
            columns["seconds"][line] = float(np.mean([row["seconds"] for row in group]))
        return columns

    def drawings(self, rows: Sequence[Row]) -> Mapping[str, Callable[[], Figure]]:
        """Curves against the rows per segment, and box plots over seeds, for each target."""
        from logprob.experiments.figures.recovery import recovery_boxes, recovery_curves

        shown, files = self._shown, TARGET_FILES.items()
        curves = {f"curves-{name}.png": partial(recovery_curves, rows, target, shown) for target, name in files}
        boxes = {f"boxes-{name}.png": partial(recovery_boxes, rows, target, shown) for target, name in files}
        return curves | boxes

    def small(self) -> Mapping[str, Any]:
        """One small data set and one seed."""
        return {
            "laws": list(self.laws[:1]),
            "layers": list(self.layers[:1]),
            "per_segment": [12],
            "segments": 3,
            "seeds": 1,
            "fresh": 4,
            "permutations": min(self.permutations, 2),
        }

    def _data(self, settings: Mapping[str, Any]) -> NonlinearICA:
        seed = 1 + settings["seed"] if self.data_seed is None else self.data_seed
        make = {"tcl": ica.tcl, "imca": ica.imca}[settings["law"]]
        return make(self.segments, settings["per_segment"], settings["layers"], self.dim, seed)

    @property
    def _shown(self) -> str:
        return "fresh_pearson" if self.protocol == "audited" else "fitted_pearson"

    def _scores(
        self, both: bool, parts: Sequence[NonlinearICA], get: Callable[[Array, Any], Candidates]
    ) -> dict[str, float]:
        """``fitted_pearson_s`` and so on; of the nulls of the Pearson score on fresh rows, 95 % quantile and p."""
        scores: dict[str, float] = {}
        for rows, part in zip(("fitted", "fresh"), parts, strict=True):
            features = list(get(part.x, part.y).values())
            for target, kind in TARGETS.items():
                compared: dict[str, Any] = {"target": kind, "both": both}
                for measure in MEASURES:
                    found = [mcc(part.sources, one, method=measure, **compared).score for one in features]
                    scores[f"{rows}_{measure}_{target}"] = max(found)
                for null in NULLS if rows == "fresh" and self.permutations else ():
                    shuffled = {"null": null, "groups": part.y, "permutations": self.permutations, **compared}
                    chance = highest_by_chance(part.sources, features, shuffled)
                    beaten = int((chance >= scores[f"fresh_pearson_{target}"]).sum())
                    scores[f"null_{null}_{target}"] = float(chance.quantile(0.95))
                    scores[f"p_{null}_{target}"] = (1 + beaten) / (1 + len(chance))
        return scores


def highest_by_chance(sources: Array, features: Sequence[Array], shuffled: Mapping[str, Any]) -> torch.Tensor:
    """The highest score over several features of each permutation, which are the same for all of them, ``(B,)``."""
    nulls = [mcc(sources, one, generator=0, **shuffled).null for one in features]
    return torch.stack([null.scores for null in nulls if null is not None]).amax(0)


def ready(estimator: Any, seed: int, layers: int, bench: Workbench, changes: Mapping[str, Any] | None = None) -> Any:
    """A clone with the seed, and what it is told of the data; with hardly any training in a smoke run."""
    from sklearn.base import clone

    fresh = clone(estimator).set_params(**(changes or {}))
    given = {"random_state": seed, "device": bench.device, "layers": layers, "noise_layers": layers}
    given |= SMOKE if bench.smoke else {}
    named = {name: name.rpartition("__")[2] for name in fresh.get_params(deep=True)}  # a control has one inside
    return fresh.set_params(**{name: given[last] for name, last in named.items() if last in given})


def candidates(estimator: Any, name: str, oracle: str | None, x: Array, y: Any) -> Candidates:
    """Features of rows: those of one method, or all that an oracle chooses from."""
    method = getattr(estimator, oracle or name)
    found = method(x, y) if "y" in inspect.signature(method).parameters else method(x)
    return {key: np.asarray(value, dtype=float) for key, value in (found if oracle else {name: found}).items()}


def scored(estimator: Any, reading: Reading) -> dict[str, str]:
    """Which tensor is scored, and how it is read.

    Example:
        >>> from types import SimpleNamespace
        >>> scored(SimpleNamespace(scored_="FastICA(flow.latent)"), Reading("flow", "transform"))
        {'scored': 'flow.latent', 'readout': 'FastICA(flow.latent)'}
    """
    readout = str(estimator.scored_) if reading.method == "transform" else reading.method
    tensor = re.search(r"[a-z]+\.[a-z]+|(?<=\()[a-z]+(?=\))", readout)
    return {"scored": tensor[0] if tensor else readout, "readout": readout}


def selection(estimator: Any, oracle: str | None) -> str:
    """What chose between restarts, stages or read-outs."""
    if oracle:
        return "oracle"
    return "heldout" if len(getattr(estimator, "held_out_losses_", ())) > 1 else "none"


def _check_estimate(name: str) -> None:
    if name not in get_args(Estimate):
        raise ValueError(f"estimate must be one of {', '.join(get_args(Estimate))}, got {name!r}")


def grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by law, layers, rows per segment and method: the seeds of one line of the table."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        line = f"{row['law']} L{row['layers']} n{row['per_segment']} {row['method']}"
        groups.setdefault(line, []).append(row)
    return groups
