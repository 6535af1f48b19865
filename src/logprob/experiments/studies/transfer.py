"""Do features of some classes help to model others, of which there are few images?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from logprob.data import Dataset
from logprob.energy import ConditionalEnergy
from logprob.experiments.seeding import seed_everything
from logprob.experiments.studies.base import Cell, Row, Study, Workbench
from logprob.experiments.studies.pretraining import (
    SMOKE_ROWS,
    Frozen,
    ImageEnergies,
    Labels,
    Protocol,
    held_out_loss,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Method = Literal["transfer", "scratch", "random features"]
AUDITED: tuple[Method, ...] = ("transfer", "scratch", "random features")
PAPER: tuple[Method, ...] = ("transfer", "scratch")
ZERO = "nothing learned"  # the line of an energy that is zero


@dataclass(frozen=True)
class TransferStudy(Study):
    """Learn features f on some labels, then only the vectors g of other labels, from N of their images.

    - *transfer*: f of a conditional energy of the seen labels, frozen; g is learned.
    - *scratch*: f and g are learned on the same rows.
    - *random features*: f as it starts, frozen; g is learned. A control.

    N = 0 stands for all images of the unseen labels; there transfer and random features learn nothing, g is one.

    The score is the conditional denoising loss, in the published scale, times 10^4; lower is better. It never falls far
    below what the noise itself costs, and that of an energy which is zero is a line of every table and figure.

    ========= ============================================ =====================================================
    protocol  score                                        rows and modes
    ========= ============================================ =====================================================
    audited   test images of the unseen labels, the same   N rows drawn at random, stratified; frozen features in
              noise for every model                        evaluation mode
    paper     *training* loss of the last epoch, median    the first N rows; features in training mode, with dropout
              over its batches                             and batch normalisation at work
    ========= ============================================ =====================================================

    Args:
        images: data, network and training.
        protocol: see above.
        seeds: how many; the study's seed and those after it.
        sizes: the numbers N.
        seen: labels that f is trained on.
        unseen: labels to transfer to.
        epochs: passes over the N rows, of every method.
        least_steps: updates of every method even if these passes are fewer; few rows for a few passes are few updates,
            which alone can decide against whatever has more to learn.

    Raises:
        ValueError: for a number below its range, or another protocol.

    References:
        Khemakhem, Monti, Kingma and Hyvarinen, "ICE-BeeM", NeurIPS 2020, section 4.
    """

    images: ImageEnergies = ImageEnergies()  # noqa: RUF009  (frozen)
    protocol: Protocol = "audited"
    seeds: int = 5
    sizes: Sequence[int] = (500, 1000, 2000, 3000, 4000, 5000, 6000, 0)
    seen: Labels = "0-7"
    unseen: Labels = "8-9"
    epochs: int = 10
    least_steps: int = 0

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.epochs < 1 or min([0, self.least_steps, *self.sizes]) < 0:
            raise ValueError("expected seeds and epochs of at least 1, and sizes and least_steps of at least 0")
        if self.protocol not in ("audited", "paper"):
            raise ValueError(f"protocol must be 'audited' or 'paper', got {self.protocol!r}")

    def cells(self, seed: int) -> Sequence[Cell]:
        """For every seed the pretraining, then one cell for each N."""
        cells = []
        for number in range(seed, seed + self.seeds):
            cells.append(Cell(f"pretrain-s{number}", {"seed": number}))
            cells += [Cell(f"n{size}-s{number}", {"seed": number, "rows": size}) for size in self.sizes]
        return cells

    def run(self, cell: Cell, bench: Workbench) -> Sequence[Row]:
        """Train what the cell stands for; a row for each method."""
        seed = cell.settings["seed"]
        source = self.images.load(bench, self.seen)
        pretrained = self.images.pretrained("conditional", self.seen, seed, bench, self.protocol, source)
        if "rows" not in cell.settings:
            loss = self._test_loss(pretrained, source, seed)
            return [{"method": "pretraining", "loss": loss, "zero": self.images.zero(source), **self._said(source)}]
        data = self._rows(cell.settings["rows"], seed, bench)
        methods = AUDITED if self.protocol == "audited" else PAPER
        rows = []
        for method in methods:
            model, losses = self._fitted(method, pretrained.network, cell.settings["rows"], seed, data, bench)
            score = self._test_loss(model, data, seed) if self.protocol == "audited" else float(np.median(losses))
            rows.append({"method": method, "loss": score, "train_loss": float(np.median(losses))})
        said = {"zero": self.images.zero(data), **self._said(data)}
        return [{**row, **said} for row in rows]

    def _rows(self, size: int, seed: int, bench: Workbench) -> Dataset:
        """The unseen labels with N training rows."""
        count = min(size, SMOKE_ROWS) if bench.smoke else size
        subset = "stratified" if self.protocol == "audited" else "first"
        return self.images.load(bench, self.unseen, rows=count or None, subset=subset, seed=seed)

    def _fitted(
        self, method: Method, network: nn.Module, size: int, seed: int, data: Dataset, bench: Workbench
    ) -> tuple[ConditionalEnergy, list[float]]:
        """The model of a method, and the losses of the last epoch of its training."""
        shuffler = seed_everything(seed)
        own = self.images.features_of(data).to(bench.device)  # of the same start for all methods
        used = network if method == "transfer" else own
        frozen = method != "scratch"
        quiet = frozen and self.protocol == "audited"
        model = self.images.conditional(Frozen(used) if quiet else used, data).to(bench.device)
        if frozen and size == 0:
            return _with_ones(model), self._losses_as_trained(model, data, bench)
        parameters = r"^(labels|square_labels)$" if frozen else ".*"
        passes = (self.epochs, self.least_steps)
        return model, self.images.train(model, data, bench, self.protocol, shuffler, passes, parameters)

    def _losses_as_trained(self, model: ConditionalEnergy, data: Dataset, bench: Workbench) -> list[float]:
        """Losses of the batches of one epoch without an update, as training would report them."""
        objective = self.images.loss(data, self.protocol)
        model.train()
        losses = []
        for start in range(0, len(data.train.x), self.images.batch_size):
            batch = data.train.rows(slice(start, start + self.images.batch_size))
            batch = batch._replace(x=batch.x.to(bench.device), context=_moved(batch.context, bench.device))
            losses.append(float(objective(model, batch).metrics["dsm_paper"]) * 1e4)
            model.zero_grad(set_to_none=True)
        return losses

    def _test_loss(self, model: Any, data: Dataset, seed: int) -> float:
        assert data.image_shape is not None
        return held_out_loss(model, data.test, self.images.objective.sigma, data.image_shape, seed)

    def _said(self, data: Dataset) -> dict[str, Any]:
        scored = "held-out denoising loss" if self.protocol == "audited" else "training loss of the last epoch"
        return {"scored": scored, "selection": "none", "data": data.name, "data_sha256": data.content_sha256}

    def table(self, rows: Sequence[Row]) -> Mapping[str, Mapping[str, float]]:
        """Mean over seeds of the loss by N and method, its standard deviation beside it, and the zero line."""
        return transfer_table(rows)

    def drawings(self, rows: Sequence[Row]) -> Mapping[str, Callable[[], Figure]]:
        """Curves of the loss against N."""
        from logprob.experiments.figures.transfer import transfer_curves

        return {"transfer.png": lambda: transfer_curves(rows)}

    def small(self) -> Mapping[str, Any]:
        """One seed, few rows, and all rows."""
        return {"seeds": 1, "sizes": [16, 0]}  # of each of fifteen classes a row


def transfer_table(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """``{method: {"N": mean}}`` of the losses of rows of :class:`TransferStudy`, with standard deviations."""
    columns: dict[str, dict[str, float]] = {}
    for (method, size), losses in losses_by_size(rows).items():
        line = "all" if size == 0 else str(size)
        columns.setdefault(method, {})[line] = float(np.mean(losses))
        columns.setdefault(f"sd {method}", {})[line] = float(np.std(losses, ddof=1)) if len(losses) > 1 else 0.0
        columns.setdefault(ZERO, {})[line] = float(rows[0]["zero"])
    return columns


def losses_by_size(rows: Sequence[Row]) -> dict[tuple[str, int], list[float]]:
    """Losses of all seeds by method and N, in the order of the rows; the pretraining left out."""
    groups: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if row["method"] != "pretraining":
            groups.setdefault((str(row["method"]), int(row["rows"])), []).append(float(row["loss"]))
    return groups


def transfer_line(rows: Sequence[Row], sizes: Sequence[int] = (6000, 0), latex: bool = True) -> str:
    """The row of a printed table: mean and standard deviation over seeds, transfer and scratch at each N.

    Args:
        rows: of :class:`TransferStudy`, as in its ``rows.csv``.
        sizes: the numbers N.
        latex: LaTeX, or else Markdown.

    Example:
        >>> rows = [{"method": m, "rows": 0, "loss": x} for m, x in (("transfer", 3), ("transfer", 4), ("scratch", 5))]
        >>> transfer_line(rows, sizes=[0])
        '$3.50 \\\\pm 0.71$ & $5.00 \\\\pm 0.00$ \\\\\\\\'
    """
    groups = losses_by_size(rows)
    cells = []
    for size in sizes:
        for method in PAPER:
            losses = groups[method, size]
            mean, spread = np.mean(losses), np.std(losses, ddof=1) if len(losses) > 1 else 0.0
            cells.append(f"${mean:.2f} \\pm {spread:.2f}$" if latex else f"{mean:.2f} ± {spread:.2f}")
    return " & ".join(cells) + r" \\" if latex else "| " + " | ".join(cells) + " |"


def _with_ones(model: ConditionalEnergy) -> ConditionalEnergy:
    """The model with one in every vector g."""
    with torch.no_grad():
        for table in (model.labels, model.square_labels):
            if table is not None:
                table.fill_(1.0)
    return model


def _moved(labels: Tensor | None, device: str) -> Tensor | None:
    return None if labels is None else labels.to(device)
