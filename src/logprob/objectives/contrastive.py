"""Noise-contrastive estimation of energies given labels, and contrasts with other labels beside it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.distributions.contrast import balanced_accuracy, contrastive_loss
from logprob.distributions.contrast_report import ContrastReport, contrast_report, log_ratio_of
from logprob.distributions.label_law import LabelLaw, LabelRule, check_rule
from logprob.distributions.noise_rows import ContrastRows, Noise, seeded
from logprob.energy.pair import ContrastivePair
from logprob.objectives.base import Loss
from logprob.objectives.noise_pool import NoisePool
from logprob.objectives.ranking import label_log_ratio, of_label, ranking_loss, wrong_label_loss


class NoiseContrastive:
    """Noise-contrastive estimation (NCE): the energy learns to tell data from noise, and with it its normalisers.

    Rows of data (x, y) stand against nu rows of noise each, x from q and y drawn apart from it. The logit is::

        l = u(x, y) - log q(x) - log nu    [+ log p(y) - log r(y), if labels of noise are drawn by another law r]

    and the loss its cross-entropy, :func:`~logprob.distributions.contrast.contrastive_loss`. At the optimum
    ``u(x, y) = log p(x | y)``: the constant c_y of the energy (``log_norm="per-condition"``) estimates ``-log Z(y)``.
    A constant for all labels does so only if all Z(y) are the same.

    Two terms need no noise. They compare labels of one row, and are consistent with the first, whose u they share::

        wrong_label:  l = log p(x | y) - log p(x) by the model, y of the row against one drawn apart from it
        ranking:      -log softmax_y [u(x, y) + log p(y)]

    Args:
        noise: q, a distribution or a module that makes one; None if the model is a
            :class:`~logprob.energy.ContrastivePair`, which has its own. It is not trained.
        ratio: nu, rows of noise for a row of data.
        labels: how labels of noise are drawn: by their frequencies in the data, or uniformly.
        given_labels: whether the noise is q(x | y), a module called with the labels.
        tilted: whether the energy is relative to the noise: ``u = log q + energy``, so that no log-density is needed.
            A pair says this itself.
        pool: draw this many rows of noise once, with their log-densities, and take those of each step from them; None
            draws new rows at each step.
        seed: of the pool; None takes one from torch's generator.
        contrast: weight of the contrast with noise.
        wrong_label: weight of the contrast with a wrong label.
        ranking: weight of the ranking of labels.
        free_logit: whether the energy itself is the logit of ``wrong_label``, as in generalised contrastive learning.
            It then learns ``log p(x | y) - log p(x)``, which is at odds with the other two terms.

    Call :meth:`prepare` with all training rows first: it computes the log-densities of data once, and knows the
    frequencies of the labels. Without it each batch stands for all rows. Where the rows of a batch are changed after it
    (augmentation), it must not be used.

    Raises:
        ValueError: if a number is out of its range; when called, if there is no noise, or twice.

    Note:
        With labels the accuracy stays above 1/2 even for noise of the very law of x: labels of data fit, those of
        noise do not. It does not say how good the noise is; ``marginal_accuracy`` of :meth:`report` does.

    References:
        Gutmann and Hyvarinen, JMLR 2012; Hyvarinen, Sasaki and Turner, AISTATS 2019; Ma and Collins, EMNLP 2018.

    Example:
        >>> from logprob.energy import ConditionalEnergy
        >>> from logprob.nn import MLP
        >>> energy = ConditionalEnergy(MLP(3, 2), conditions=4, features=2, log_norm="per-condition")
        >>> noise = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(3), 2.0), 1)
        >>> batch = Batch(torch.randn(8, 3), torch.randint(4, (8,)))
        >>> NoiseContrastive(noise, ratio=4)(energy, batch).value.shape
        torch.Size([])
    """

    def __init__(
        self,
        noise: DistributionModule | Distribution | None = None,
        ratio: int = 1,
        labels: LabelRule = "frequencies",
        given_labels: bool = False,
        tilted: bool = False,
        pool: int | None = None,
        seed: int | None = None,
        contrast: float = 1.0,
        wrong_label: float = 0.0,
        ranking: float = 0.0,
        free_logit: bool = False,
    ) -> None:
        if ratio < 1:
            raise ValueError(f"ratio must be at least 1, got {ratio}")
        if min(contrast, wrong_label, ranking) < 0 or not contrast + wrong_label + ranking > 0:
            raise ValueError(
                f"expected weights from 0 on, not all of them 0, got {contrast}, {wrong_label} and {ranking}"
            )
        check_rule(labels)
        self.noise, self.ratio, self.labels, self.given_labels, self.tilted = noise, ratio, labels, given_labels, tilted
        self.pool = None if pool is None else NoisePool(pool, seed)
        self.contrast, self.wrong_label, self.ranking, self.free_logit = contrast, wrong_label, ranking, free_logit
        self._law: LabelLaw | None = None
        self._is_prepared = False

    def __call__(self, model: DistributionModule, batch: Batch) -> Loss:
        """The loss, summed over the copies of the model; metrics are means over them.

        ``contrastive_loss`` and balanced ``accuracy`` of the contrast with noise, ``wrong_label_loss`` and
        ``ranking_loss`` of the others, as far as they have a weight.
        """
        sides = self.sides(model)
        log_q = self._log_q(sides, batch) if self.contrast else None
        return self.of_rows(sides, self.law(sides.energy, batch), ContrastRows(batch.x, batch.context, log_q))

    def of_rows(self, sides: Sides, law: LabelLaw | None, data: ContrastRows) -> Loss:
        """The loss of rows whose log-densities under the noise are known."""
        noise = self._noise_rows(sides, law, data) if self.contrast else None
        u, potentials = self._energies(sides.energy, data, noise)
        losses = self._against_labels(potentials, data, law)
        metrics = {name: _mean(loss.detach()) for name, (_, loss) in losses.items()}
        if noise is not None:
            parts = u.split([len(data.x), len(noise.x)], -1)
            of_data, of_noise = (
                log_ratio_of(part, rows, law, sides.tilted) for part, rows in zip(parts, (data, noise), strict=True)
            )
            loss = contrastive_loss(of_data, of_noise, self.ratio)
            losses["contrastive_loss"] = self.contrast, loss
            metrics["contrastive_loss"] = _mean(loss.detach())
            metrics["accuracy"] = _mean(balanced_accuracy(of_data.detach(), of_noise.detach()))
        return Loss(_sum([_weighted(weight, loss) for weight, loss in losses.values()]), metrics)

    def prepare(self, model: DistributionModule, rows: Batch) -> Batch:
        """Cache what does not change in training: the rows with ``log q`` as their target, and the label frequencies.

        Args:
            model: whose noise, if it has one, is ready.
            rows: all training rows. A target that they have is dropped.
        """
        sides = self.sides(model)
        self._is_prepared, self._law = False, None
        self._law = self.law(sides.energy, rows)
        log_q = self._log_q(sides, rows) if self.contrast else None
        self._is_prepared = True
        return Batch(rows.x, rows.context, log_q)

    def report(self, model: DistributionModule, rows: Batch, noise_rows: int = 20_000, seed: int = 0) -> ContrastReport:
        """Loss and accuracies of each copy on rows that were not trained on; what they have as target is not used.

        All copies, and all calls with one seed, see the same noise, so that their losses can be compared.

        Args:
            model: the model.
            rows: held-out rows.
            noise_rows: rows of noise, however many the data are.
            seed: of the noise.
        """
        sides = self.sides(model)
        law = self.law(sides.energy, rows)
        data = ContrastRows(rows.x, rows.context, self.density(sides, rows))
        with seeded(seed):
            noise = self.draw(sides, law, data.x, noise_rows)
        return contrast_report(sides.energy, data, noise, law, self.ratio, sides.tilted)

    def state_dict(self) -> dict[str, Any]:
        """The seed of the pool; with it, and the noise, the same pool is drawn again."""
        return {"seed": None if self.pool is None else self.pool.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        if self.pool is not None:
            self.pool.empty(state["seed"])

    def to(self, device: torch.device) -> NoiseContrastive:
        """Move the noise, if it is a module of the objective's own."""
        if isinstance(self.noise, torch.nn.Module):
            self.noise.to(device)
        return self

    def sides(self, model: DistributionModule) -> Sides:
        """The energy and the noise, whichever has them."""
        own = model if isinstance(model, ContrastivePair) else None
        if own is not None and self.noise is not None:
            raise ValueError("the model has a noise of its own: give the objective none, or the energy alone")
        source = self.noise if own is None else own.noise
        if source is None and self.contrast:
            raise ValueError("expected a noise, or a ContrastivePair as the model, got neither")
        noise = None if source is None else Noise(source, self.given_labels)
        return Sides(model, noise, self.tilted) if own is None else Sides(own.energy, noise, own.tilted)

    def law(self, energy: Any, batch: Batch) -> LabelLaw | None:
        """The law of the labels of all rows, or of the batch if there was no preparation; None without labels."""
        if self._law is not None or batch.context is None:
            return self._law
        return LabelLaw(batch.context, getattr(energy, "conditions", None), self.labels)

    def _energies(self, energy: Any, data: ContrastRows, noise: ContrastRows | None) -> tuple[Tensor, Tensor | None]:
        """u of all rows in one call, and u for every label of the rows of data if it is wanted."""
        x = data.x if noise is None else torch.cat([data.x, noise.x])
        labels = data.labels
        if noise is not None and labels is not None and noise.labels is not None:
            labels = torch.cat([labels, noise.labels])
        if not self.wrong_label + self.ranking:
            return energy(labels).unnormalized_log_prob(x), None
        if labels is None:
            raise ValueError("wrong_label and ranking compare labels, and the batch has none as its context")
        potentials = energy.log_potentials(x)
        return of_label(potentials, labels), potentials[..., : len(data.x), :]

    def _against_labels(
        self, potentials: Tensor | None, data: ContrastRows, law: LabelLaw | None
    ) -> dict[str, tuple[float, Tensor]]:
        """Weights and losses ``(*copies,)`` of the terms without noise."""
        losses: dict[str, tuple[float, Tensor]] = {}
        if potentials is None or data.labels is None or law is None:
            return losses
        prior = law.log_probs.to(potentials)
        if self.wrong_label:
            ratios = potentials if self.free_logit else label_log_ratio(potentials, prior)
            wrong = law.draw_as_data(len(data.x))
            losses["wrong_label_loss"] = self.wrong_label, wrong_label_loss(ratios, data.labels, wrong)
        if self.ranking:
            losses["ranking_loss"] = self.ranking, ranking_loss(potentials, data.labels, prior)
        return losses

    def _log_q(self, sides: Sides, batch: Batch) -> Tensor | None:
        return batch.target if self._is_prepared else self.density(sides, batch)

    def density(self, sides: Sides, batch: Batch) -> Tensor | None:
        """``log q`` of rows, ``(N,)``, or None where it is not needed."""
        if sides.tilted or sides.noise is None:
            return None
        return sides.noise.log_prob(batch.x, batch.context)

    def _noise_rows(self, sides: Sides, law: LabelLaw | None, data: ContrastRows) -> ContrastRows:
        rows = self.ratio * len(data.x)
        if self.pool is None:
            return self.draw(sides, law, data.x, rows)
        taken = self.pool.take(rows, lambda size: self.draw(sides, law, data.x, size))
        # The rows are drawn once; labels apart from them cost nothing, and new ones are less to overfit.
        return taken if self.given_labels or law is None else taken._replace(labels=law.draw(rows))

    def draw(self, sides: Sides, law: LabelLaw | None, like: Tensor, rows: int) -> ContrastRows:
        """New rows of noise of the type of ``like``, with their labels and log-densities."""
        if sides.noise is None:
            raise ValueError("expected a noise, or a ContrastivePair as the model, got neither")
        labels = None if law is None else law.draw(rows)
        return sides.noise.draw(rows, like, labels, with_log_q=not sides.tilted)


class Sides(NamedTuple):
    """What a contrast is between.

    Args:
        energy: makes unnormalised distributions.
        noise: where rows of noise come from.
        tilted: whether the energy is relative to the noise.
    """

    energy: Any
    noise: Noise | None
    tilted: bool


def _sum(terms: list[Tensor]) -> Tensor:
    return terms[0] if len(terms) == 1 else torch.stack(terms).sum()


def _weighted(weight: float, loss: Tensor) -> Tensor:
    """Of all copies; without copies and weight nothing is computed, as steps are so small that it would be seen."""
    total = loss.sum() if loss.dim() else loss
    return total if weight == 1 else weight * total


def _mean(values: Tensor) -> Tensor:
    return values.mean() if values.dim() else values
