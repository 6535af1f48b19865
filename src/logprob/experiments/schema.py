"""What a recipe may say: its keys, those of a phase of training and those of the pictures, with their defaults."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from logprob.data import Augmentation, DataSource
from logprob.distributions import DistributionModule
from logprob.experiments.stopping import Monitor, Stopping
from logprob.experiments.studies import Study
from logprob.metrics import LogLikelihood, Metric
from logprob.objectives import Objective


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Args:
        objective: what is minimised.
        optimizer: class of torch.optim and its arguments.
        epochs: passes over the training rows; give this or ``steps``.
        steps: updates; give this or ``epochs``.
        batch_size: rows per update.
        parameters: regular expression; parameters whose name it does not find stay as they are.
        scheduler: learning-rate schedule, moved once an epoch, or after every update if it has the attribute
            ``every_update``.
        stopping: when to stop early; never if unset.
        clip_norm: largest norm of the gradient; unlimited if unset.
        warmup_epochs: over so many epochs the learning rate rises linearly to what the schedule says.
        augmentation: applied to every batch of training rows.
        shuffle: whether each epoch has a new order of the rows; if not, they come as the data set has them.
        evaluate_every: epochs between evaluations, which are what chooses the best checkpoint, stops, and
            drives schedules that watch a metric. The last epoch is always evaluated.
        accumulate: parts that a batch is cut into, so that a large one fits into memory; an update is made
            from the mean of their gradients, weighted by their rows.
    """

    objective: Objective
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 256
    parameters: str = ".*"
    scheduler: Callable[[Optimizer], LRScheduler] | None = None
    stopping: Stopping | None = None
    clip_norm: float | None = None
    warmup_epochs: float = 0.0
    augmentation: Augmentation | None = None
    shuffle: bool = True
    evaluate_every: int = 1
    accumulate: int = 1

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps, and set the other to null")
        for name in ("epochs", "steps", "batch_size", "clip_norm", "evaluate_every", "accumulate"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if not 0 <= self.warmup_epochs < math.inf:
            raise ValueError(f"warmup_epochs must be a number from 0, got {self.warmup_epochs}")


@dataclass(frozen=True)
class Figures:
    """Which pictures of a run are drawn.

    Args:
        samples: images on a sheet of samples; 0 for no sheet.
        inverse: by which inverse a flow's samples are drawn, from the same latents; other models have one way.
        reconstructions: test images on a sheet of reconstructions; 0 for no sheet.
        filters: whether weights and learned inverse weights are shown.
        every: epochs between pictures during training; 0 for pictures at the end only.
    """

    samples: int = 100
    inverse: Literal["exact", "approximate", "both"] = "both"
    reconstructions: int = 20
    filters: bool = True
    every: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "reconstructions", "every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a run.

    Args:
        title: one line.
        data: where the rows come from.
        model: the model.
        phases: stretches of training, in order.
        paper: what the recipe reproduces.
        metrics: what is evaluated, on the validation rows every epoch and on the test rows at the end.
        monitor: which of these numbers chooses the best checkpoint.
        seed: of the initial parameters, the order of the rows and everything else that is random.
        dtype: of parameters and continuous rows.
        max_eval_rows: largest number of validation rows evaluated during training; the first ones are taken.
            At the end validation and test rows are evaluated whole.
        evaluate_train: whether training rows are evaluated too, at most ``max_eval_rows`` of them.
        figures: which pictures are drawn; none if null.
        imports: modules beyond logprob whose classes are used; the user must name each with ``--import``.
    """

    title: str
    data: DataSource
    model: DistributionModule
    phases: list[Phase]
    paper: str = ""
    metrics: tuple[Metric, ...] = (LogLikelihood(),)
    monitor: Monitor = Monitor()  # noqa: RUF009  (frozen)
    seed: int = 0
    dtype: Literal["float32", "float64"] = "float32"
    max_eval_rows: int | None = None
    evaluate_train: bool = False
    figures: Figures | None = Figures()
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyRecipe:
    """Everything that decides the outcome of a study: several trainings whose numbers stand in one table.

    Args:
        title: one line.
        study: what is trained, and what is put together from it.
        paper: what the recipe reproduces.
        seed: the first of its seeds.
        imports: modules beyond logprob whose classes are used; the user must name each with ``--import``.
    """

    title: str
    study: Study
    paper: str = ""
    seed: int = 0
    imports: tuple[str, ...] = ()
