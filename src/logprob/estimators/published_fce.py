"""Flow-contrastive training as a published experiment ran it, with the steps by which it is no valid contrast."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from logprob.estimators.published_pair import PublishedPair
from logprob.estimators.training import in_chunks

Loss = Callable[["Contrast"], tuple[Tensor, Tensor]]  # rows -> (mean loss, logits of being data)


@dataclass(frozen=True)
class PublishedSchedule:
    """Phases of the published training. Accuracies are those of the training rows, running over an epoch.

    One epoch of likelihood for the flow; labels alone, then the whole energy, until they beat ``energy_accuracy``; then
    rounds, in which the flow learns to fool the energy until the accuracy is below ``fooled_accuracy``, and the energy
    learns again, with another rate, until it is above ``round_accuracy``. Each phase has its own Adam and noise.

    Args:
        flow_epochs: of likelihood.
        flow_rate: learning rate of it.
        label_epochs: at most so many for the labels alone.
        energy_epochs: at most so many for the whole energy.
        energy_rate: learning rate of both.
        energy_accuracy: both stop above it.
        rounds: their number.
        fooling_epochs: of the flow, at most so many in a round.
        fooling_rate: learning rate of it.
        fooled_accuracy: it stops below.
        round_epochs: of the energy, at most so many in a round.
        round_rate: learning rate of it.
        round_accuracy: it stops above.
        weight_decay: of the flow.
        batch_size: rows of a step, data and noise together.

    References:
        Khemakhem et al., "ICE-BeeM", NeurIPS 2020 (its code).
    """

    flow_epochs: int = 1
    flow_rate: float = 1e-4
    label_epochs: int = 15
    energy_epochs: int = 50
    energy_rate: float = 1e-4
    energy_accuracy: float = 0.5
    rounds: int = 3
    fooling_epochs: int = 5
    fooling_rate: float = 1e-5
    fooled_accuracy: float = 0.475
    round_epochs: int = 50
    round_rate: float = 3e-4
    round_accuracy: float = 0.525
    weight_decay: float = 1e-5
    batch_size: int = 128

    def __post_init__(self) -> None:
        if self.batch_size < 2 or min(self.flow_epochs, self.rounds) < 0:
            raise ValueError(
                f"expected batch_size >= 2 and no negative number of epochs or rounds, got {self.batch_size}, "
                f"{self.flow_epochs} and {self.rounds}"
            )


class Contrast(NamedTuple):
    """Data and noise, rows beside rows.

    Args:
        x: ``(2 N, D)``.
        labels: ``0..K``, int64; K is the label of noise that stands for all conditions alike.
        is_data: 1 or 0.
        log_noise: log-density under the flow as it was when the phase began, in nats; zeros if not wanted.
    """

    x: Tensor
    labels: Tensor
    is_data: Tensor
    log_noise: Tensor

    def rows(self, index: Tensor) -> Contrast:
        """Some of the rows."""
        return Contrast(*(part[index] for part in self))


@dataclass(frozen=True)
class Stage:
    """The pair after a stage of the training, and the epochs that led there.

    Args:
        name: ``"start"`` after likelihood and first contrast, then ``"round 1"`` and so on.
        model: in evaluation mode.
        history: a dict for each epoch: ``stage``, ``phase``, ``epoch``, ``loss`` (nats, mean over rows) and, for
            contrasts, ``accuracy``.
    """

    name: str
    model: PublishedPair
    history: list[dict[str, Any]]

    @property
    def state(self) -> dict[str, Tensor]:
        """The state of the pair, flags and permutations included."""
        return dict(self.model.state_dict())

    def latents(self, x: Tensor) -> Tensor:
        """The flow's latents of rows, ``(N, D)``, in the precision of the rows."""
        return in_chunks(self._as_precise(x).latents, x)

    def features(self, x: Tensor, batch_statistics: bool = False) -> Tensor:
        """f of the energy, ``(N, m)``, in the precision of the rows.

        Args:
            x: rows.
            batch_statistics: normalise by the means and variances of these very rows, as published: a row's features
                then depend on the rows beside it.
        """
        if not batch_statistics:
            return in_chunks(self._as_precise(x).features, x)
        with torch.no_grad():
            return copy.deepcopy(self.model).to(x.dtype).train().features(x)

    def _as_precise(self, x: Tensor) -> PublishedPair:
        """In single precision what a row gives depends in its last digits on where it stands among the others."""
        return self.model if x.dtype == torch.float32 else copy.deepcopy(self.model).to(x.dtype)


def train_published(
    pair: PublishedPair,
    x: Tensor,
    y: Tensor,
    schedule: PublishedSchedule | None = None,
    after_phase: Callable[[float], None] | None = None,
) -> list[Stage]:
    """Run the schedule; random numbers come from torch's global generator.

    What differs from a valid contrast, all as published: noise rows carry the mean of all conditions, one
    log-normaliser serves all of them, and the flow is trained against an energy without squares and noise rows with
    the labels of data. The gradient does not pass the frozen flow, which changes no number.

    Args:
        pair: is trained in place.
        x: rows, ``(N, D)``.
        y: conditions ``0..K-1``, ``(N,)``.
        schedule: by default the published one.
        after_phase: called with the last loss of each phase when it ends.

    Returns:
        The pair after the first contrast and after each round.
    """
    plan = PublishedSchedule() if schedule is None else schedule
    trainer = _Trainer(pair.train(), x, y, plan, after_phase)
    trainer.likelihood()
    trainer.learn("labels", plan.label_epochs, plan.energy_rate, plan.energy_accuracy)
    trainer.learn("energy", plan.energy_epochs, plan.energy_rate, plan.energy_accuracy)
    stages = [trainer.stage("start")]
    for number in range(1, plan.rounds + 1):
        trainer.name = f"round {number}"
        trainer.fool()
        trainer.learn("energy", plan.round_epochs, plan.round_rate, plan.round_accuracy)
        stages.append(trainer.stage(trainer.name))
    return stages


class _Trainer:
    """The phases, and the history since the last stage."""

    def __init__(
        self,
        pair: PublishedPair,
        x: Tensor,
        y: Tensor,
        plan: PublishedSchedule,
        after_phase: Callable[[float], None] | None,
    ) -> None:
        self.pair, self.x, self.y, self.plan = pair, x, y, plan
        self.after_phase = (lambda loss: None) if after_phase is None else after_phase
        self.name = "start"
        self.history: list[dict[str, Any]] = []

    def stage(self, name: str) -> Stage:
        """A copy of the pair as it is now."""
        history, self.history = self.history, []
        return Stage(name, copy.deepcopy(self.pair).eval(), history)

    def likelihood(self) -> None:
        """Fit the flow to the rows: Adam on the *sum* of minus log-densities over a batch."""
        optimizer = self._adam(self.pair.flow.parameters(), self.plan.flow_rate, self.plan.weight_decay)
        for epoch in range(1, self.plan.flow_epochs + 1):
            total = torch.zeros((), device=self.x.device)
            for rows in self.x[torch.randperm(len(self.x))].split(self.plan.batch_size):
                if len(rows) > 1:  # the first batch sets normalisations
                    loss = -self.pair.log_noise(rows).sum()
                    self._step(optimizer, loss)
                    total += loss.detach()
            self._record("likelihood", epoch, {"loss": float(total) / len(self.x)})
        self._end()

    def learn(self, phase: str, epochs: int, rate: float, enough: float) -> None:
        """Train the energy, or its labels and normaliser alone, against noise drawn now, which is frozen."""
        energy = self.pair.energy
        assert energy.labels is not None
        assert energy.offset is not None
        labels_alone = phase == "labels"
        trained: Iterable[nn.Parameter] = [energy.labels, energy.offset] if labels_alone else energy.parameters()

        def loss(batch: Contrast) -> tuple[Tensor, Tensor]:
            with torch.set_grad_enabled(not labels_alone):
                features = energy.features(batch.x)
            logits = self.pair.log_potentials(features, batch.labels) - batch.log_noise
            return F.binary_cross_entropy_with_logits(logits, batch.is_data), logits

        rows = contrast(self.pair, self.x, self.y, alike=True)
        self._contrast(phase, rows, loss, self._adam(trained, rate), epochs, lambda accuracy: accuracy > enough)

    def fool(self) -> None:
        """Train the flow to have its log-density of data below the energy, and that of its past noise above it."""
        plan = self.plan

        def loss(batch: Contrast) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                u = self.pair.log_potentials(self.pair.energy.features(batch.x), batch.labels, squares=False)
            logits = u - self.pair.log_noise(batch.x)
            return F.binary_cross_entropy_with_logits(-logits, batch.is_data), logits

        rows = contrast(self.pair, self.x, self.y, alike=False)
        optimizer = self._adam(self.pair.flow.parameters(), plan.fooling_rate, plan.weight_decay)
        self._contrast(
            "flow", rows, loss, optimizer, plan.fooling_epochs, lambda accuracy: accuracy < plan.fooled_accuracy
        )

    def _contrast(
        self,
        phase: str,
        rows: Contrast,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        epochs: int,
        enough: Callable[[float], bool],
    ) -> None:
        for epoch in range(1, epochs + 1):
            total, correct = torch.zeros((), device=self.x.device), torch.zeros((), device=self.x.device)
            for index in torch.randperm(len(rows.x)).to(self.x.device).split(self.plan.batch_size):
                if len(index) < 2:  # one row has no batch statistics
                    continue
                batch = rows.rows(index)
                value, logits = loss(batch)
                self._step(optimizer, value)
                total += value.detach() * len(index)
                correct += ((logits.detach() > 0) == (batch.is_data > 0)).sum()
            accuracy = float(correct) / len(rows.x)
            self._record(phase, epoch, {"loss": float(total) / len(rows.x), "accuracy": accuracy})
            if enough(accuracy):
                break
        self._end()

    def _end(self) -> None:
        self.after_phase(self.history[-1]["loss"] if self.history else float("nan"))

    def _adam(self, parameters: Iterable[nn.Parameter], rate: float, decay: float = 0.0) -> torch.optim.Optimizer:
        return torch.optim.Adam(list(parameters), lr=rate, weight_decay=decay, fused=True)

    def _step(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def _record(self, phase: str, epoch: int, values: dict[str, float]) -> None:
        self.history.append({"stage": self.name, "phase": phase, "epoch": epoch, **values})


def contrast(pair: PublishedPair, x: Tensor, y: Tensor, alike: bool) -> Contrast:
    """Data beside as many rows of fresh noise, with their log-densities under the flow of now.

    Args:
        pair: gives the noise.
        x: rows, ``(N, D)``.
        y: conditions, ``(N,)``.
        alike: whether noise rows stand for all conditions alike; else they carry the labels of the data.
    """
    with torch.no_grad():
        noise = torch.cat([pair.flow.draw(len(part)) for part in x.split(8192)])
    rows = torch.cat([x, noise])
    labels = torch.cat([y, torch.full_like(y, pair.energy.conditions) if alike else y])
    is_data = torch.cat([x.new_ones(len(x)), x.new_zeros(len(x))])
    return Contrast(rows, labels, is_data, in_chunks(pair.log_noise, rows, dim=0))


def contrast_loss(pair: PublishedPair, rows: Contrast) -> Tensor:
    """The loss of the energy's phases, in nats, a scalar: binary cross entropy, mean over data and noise."""
    u = pair.log_potentials(pair.energy.features(rows.x), rows.labels)
    return F.binary_cross_entropy_with_logits(u - rows.log_noise, rows.is_data)
