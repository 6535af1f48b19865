"""Flow-contrastive estimation: an energy and the flow that makes its noise, trained against each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.distributions.contrast import balanced_accuracy, contrastive_loss
from logprob.distributions.contrast_report import ContrastReport, contrast_report, log_ratio_of
from logprob.distributions.label_law import LabelLaw, LabelRule
from logprob.distributions.noise_rows import ContrastRows, seeded
from logprob.energy.pair import ContrastivePair
from logprob.objectives.alternation import Alternation
from logprob.objectives.base import Loss
from logprob.objectives.contrastive import NoiseContrastive, Sides
from logprob.objectives.flow_game import FlowRule, flow_value, rows_with_gradient
from logprob.objectives.noise_pool import frozen


class FlowContrastive:
    """Flow-contrastive estimation (FCE): an energy learns to tell data from a flow's samples, the flow to prevent that.

    With the logit l of :class:`NoiseContrastive` and x~ = g(z), a sample of the flow q::

        V = E_data log sigmoid(l(x, y)) + nu E_noise log sigmoid(-l(x~, y~))

    The energy ascends V. The flow descends ``V + mle_weight * (-mean log q(x))``, and its gradient passes through the
    samples as well as through ``log q``. One objective and one optimizer hold both: who rests gets no gradient, and an
    optimizer leaves parameters without a gradient alone. Turns are those of :class:`Alternation`.

    :meth:`prepare` sets rows apart on which the accuracy of the turns is measured, with the label summed out: labels of
    noise are drawn apart from it, so knowing them tells it from data however good it is. In a turn of the energy the
    flow does not change: a pool of samples and the log-densities of all rows are computed once, at its beginning.
    Without preparation all is computed at each step, and only the largest numbers of steps end a turn.

    Args:
        ratio: nu, rows of noise for a row of data.
        mle_weight: of the flow's own likelihood, which keeps it near the data while the energy is poor.
        rule: of the flow's gradient: ``"samples"`` as above; ``"detached"``: samples take no gradient, and the flow
            descends the cross-entropy of the negated logits. At ``l = 0`` both are
            ``(E_noise - E_data) grad log q / 2``; far from it they differ, and the second descends no V.
        labels: how labels of noise are drawn, by frequencies or uniformly.
        given_labels: whether the flow is q(x | y), a module called with the labels.
        pool: samples drawn at the beginning of each turn of the energy; None draws new ones at each step.
        held_out: share of the rows set apart, or their number.
        check_every: calls between measurements, and so the least number of calls of a turn. A batch cut into parts
            (``accumulate``) is as many calls; the same holds for the lengths of turns.
        margin: see :class:`Alternation`.
        energy_steps: see :class:`Alternation`.
        flow_steps: see :class:`Alternation`.
        seed: of the choice of held-out rows, and of their noise.

    Attributes:
        history: a dict a measurement: ``step`` since the beginning, ``side``, and on held-out rows ``accuracy`` (labels
            known), ``marginal_accuracy`` (labels summed out) and ``contrastive_loss``.

    Raises:
        ValueError: if a number is out of its range; when called, if the pair is tilted: its logit does not see log q.
        TypeError: when called, if the model is no :class:`~logprob.energy.ContrastivePair`.

    References:
        Gao et al., "Flow Contrastive Estimation of Energy-Based Models", CVPR 2020. Turns by a marginal accuracy are
        this library's; the detached rule is that of the code of Khemakhem et al., "ICE-BeeM", NeurIPS 2020.

    Example:
        >>> from logprob.energy import ConditionalEnergy
        >>> from logprob.energy.pair import ContrastivePair
        >>> from logprob.flows import RealNVP
        >>> from logprob.nn import MLP
        >>> energy = ConditionalEnergy(MLP(2, 2), conditions=3, features=2, log_norm="per-condition")
        >>> pair, objective = ContrastivePair(energy, RealNVP(2)), FlowContrastive()
        >>> rows = objective.prepare(pair, Batch(torch.randn(100, 2), torch.randint(3, (100,))))
        >>> objective(pair, rows.rows(slice(0, 8))).metrics["flow_turn"]
        tensor(0.)
    """

    def __init__(
        self,
        ratio: int = 1,
        mle_weight: float = 1.0,
        rule: FlowRule = "samples",
        labels: LabelRule = "frequencies",
        given_labels: bool = False,
        pool: int | None = 10_000,
        held_out: float = 0.1,
        check_every: int = 50,
        margin: float = 0.025,
        energy_steps: int = 2000,
        flow_steps: int = 200,
        seed: int = 0,
    ) -> None:
        if rule not in ("samples", "detached"):
            raise ValueError(f"rule must be 'samples' or 'detached', got {rule!r}")
        if not mle_weight >= 0 or not held_out > 0 or check_every < 1:
            raise ValueError(
                "expected mle_weight from 0, held_out above 0 and check_every from 1, "
                f"got {mle_weight}, {held_out} and {check_every}"
            )
        self.contrast = NoiseContrastive(ratio=ratio, labels=labels, given_labels=given_labels, pool=pool)
        self.turns = Alternation(margin, energy_steps, flow_steps)
        self.ratio, self.mle_weight, self.rule = ratio, mle_weight, rule
        self.held_out, self.check_every, self.seed = held_out, check_every, seed
        self.history: list[dict[str, Any]] = []
        self.steps = 0
        self._train: Batch | None = None
        self._held: Batch | None = None
        self._train_law: LabelLaw | None = None
        self._log_q: Tensor | None = None  # of all training rows, during a turn of the energy
        self._checked: tuple[ContrastRows, ContrastRows] | None = None  # held-out data and noise, for as long

    def __call__(self, model: DistributionModule, batch: Batch) -> Loss:
        """The loss of who has the turn.

        Metrics: ``contrastive_loss``, ``accuracy`` and ``log_likelihood`` of the flow on the batch, ``flow_turn`` (1 if
        it is the flow's turn), and after :meth:`prepare` also ``held_out_accuracy`` and
        ``held_out_marginal_accuracy`` as last measured.
        """
        sides = self._sides(model)
        self._take_turns(sides)
        loss = self._energy_loss(sides, batch) if self.turns.side == "energy" else self._flow_loss(sides, batch)
        if torch.is_grad_enabled():
            self.turns.step()
            self.steps += 1
        return Loss(loss.value, {**loss.metrics, **self._reported(loss.value)})

    def prepare(self, model: DistributionModule, rows: Batch) -> Batch:
        """Set rows apart for measurements; the others, with their number as the target, are what to train on.

        Raises:
            ValueError: if not at least one row is left on either side.
        """
        self._sides(model)
        rows = Batch(rows.x, rows.context)
        held = round(self.held_out * len(rows.x)) if self.held_out < 1 else int(self.held_out)
        if not 0 < held < len(rows.x):
            raise ValueError(f"held_out = {self.held_out} sets {held} of {len(rows.x)} rows apart")
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(rows.x), generator=generator).to(rows.x.device)
        self._held, self._train = rows.rows(order[:held]), rows.rows(order[held:])
        self._train_law = None
        self._forget()
        return self._train._replace(target=torch.arange(len(self._train.x), device=rows.x.device))

    def state_dict(self) -> dict[str, Any]:
        """Whose turn it is, the seed of the pool, and the history."""
        return {
            "steps": self.steps,
            "turns": self.turns.state_dict(),
            "contrast": self.contrast.state_dict(),
            "history": [dict(entry) for entry in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`; what is cached is computed again when it is needed."""
        self._forget()
        self.steps = state["steps"]
        self.turns.load_state_dict(state["turns"])
        self.contrast.load_state_dict(state["contrast"])
        self.history = [dict(entry) for entry in state["history"]]

    def _sides(self, model: DistributionModule) -> Sides:
        if not isinstance(model, ContrastivePair):
            raise TypeError(f"expected a ContrastivePair of an energy and a flow, got {type(model).__name__}")
        if model.tilted:
            raise ValueError("a tilted energy is relative to the flow, so that its logit does not see log q")
        return self.contrast.sides(model)

    def _take_turns(self, sides: Sides) -> None:
        due = self.turns.steps % self.check_every == 0 or self.turns.is_over
        if not torch.is_grad_enabled() or not due:
            return
        accuracy = None
        if self._held is not None:
            report = self._report(sides)
            accuracy = report.marginal_accuracy.mean().item()
            self._note(report)
        if self.turns.steps and self.turns.decide(accuracy):
            self._forget()

    def _note(self, report: ContrastReport) -> None:
        numbers = [value.mean().item() for value in (report.accuracy, report.marginal_accuracy, report.loss)]
        names = ("accuracy", "marginal_accuracy", "contrastive_loss")
        entry = {"step": self.steps, "side": self.turns.side}
        self.history.append(entry | dict(zip(names, numbers, strict=True)))

    def _report(self, sides: Sides) -> ContrastReport:
        """The present energy against the present flow, on held-out rows."""
        assert self._held is not None
        law = self._law(sides, self._held)
        if self._checked is None or self.turns.side == "flow":
            with seeded(self.seed):
                noise = self.contrast.draw(sides, law, self._held.x, len(self._held.x))
            log_q = self.contrast.density(sides, self._held)
            self._checked = ContrastRows(self._held.x, self._held.context, log_q), noise
        return contrast_report(sides.energy, *self._checked, law, self.ratio)

    def _energy_loss(self, sides: Sides, batch: Batch) -> Loss:
        data = ContrastRows(batch.x, batch.context, self._density(sides, batch))
        loss = self.contrast.of_rows(sides, self._law(sides, batch), data)
        assert data.log_q is not None
        return Loss(loss.value, {**loss.metrics, "log_likelihood": data.log_q.mean()})

    def _density(self, sides: Sides, batch: Batch) -> Tensor | None:
        """Log-densities of a batch: looked up, if the rows are numbered."""
        if self._train is None or batch.target is None:
            return self.contrast.density(sides, batch)
        if self._log_q is None:
            self._log_q = self.contrast.density(sides, self._train)
        assert self._log_q is not None
        return self._log_q[batch.target]

    def _flow_loss(self, sides: Sides, batch: Batch) -> Loss:
        assert sides.noise is not None
        law = self._law(sides, batch)
        data, noise = rows_with_gradient(sides.noise, law, batch, self.ratio, self.rule)
        labels = None if data.labels is None or noise.labels is None else torch.cat([data.labels, noise.labels])
        with frozen(sides.energy):
            u = sides.energy(labels).unnormalized_log_prob(torch.cat([data.x, noise.x]))
        of_data = log_ratio_of(u[..., : len(data.x)], data, law, False)
        of_noise = log_ratio_of(u[..., len(data.x) :], noise, law, False)
        assert data.log_q is not None
        likelihood = data.log_q.mean()
        value = flow_value(of_data, of_noise, self.ratio, self.rule) - self.mle_weight * likelihood
        metrics = {
            "contrastive_loss": contrastive_loss(of_data.detach(), of_noise.detach(), self.ratio).mean(),
            "accuracy": balanced_accuracy(of_data.detach(), of_noise.detach()).mean(),
            "log_likelihood": likelihood.detach(),
        }
        return Loss(value, metrics)

    def _law(self, sides: Sides, batch: Batch) -> LabelLaw | None:
        if self._train_law is None and self._train is not None:
            self._train_law = self.contrast.law(sides.energy, self._train)
        return self.contrast.law(sides.energy, batch) if self._train is None else self._train_law

    def _reported(self, like: Tensor) -> dict[str, Tensor]:
        numbers = {"flow_turn": like.new_tensor(float(self.turns.side == "flow"))}
        if self.history:
            last = self.history[-1]
            numbers["held_out_accuracy"] = like.new_tensor(last["accuracy"])
            numbers["held_out_marginal_accuracy"] = like.new_tensor(last["marginal_accuracy"])
        return numbers

    def _forget(self) -> None:
        """What was computed from a flow that moves on is of no use."""
        self._log_q = self._checked = None
        if self.contrast.pool is not None:
            self.contrast.pool.empty()
