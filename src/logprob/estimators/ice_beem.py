"""Nonlinear ICA by an identifiable conditional energy."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions.contrast import contrastive_loss
from logprob.distributions.score_matching import denoising_losses
from logprob.energy import ConditionalEnergy, ScaleMixtureFlow
from logprob.estimators.base import Array, IdentifiableEstimator, seeded
from logprob.estimators.label_free_noise import NoiseRows, draw_noise, fit_noise
from logprob.estimators.readout import Kind, Readout
from logprob.estimators.training import in_chunks
from logprob.nn import StackedMLP

HELD_OUT_NOISE = 20_000  # with 1,000 rows of noise the order of restarts by their held-out loss is that of chance
TINY_NOISE = 0.1  # rows held out are not to cost more than those that train


class ICEBeeM(IdentifiableEstimator):
    """Sources by a conditional energy ``log p(x | y) = u(x, y) - log Z(y)`` whose features are identifiable.

    ``u = log q(x) + b(x) + c_y + sum_i f_i(x)^2 h_yi`` with networks f and b, free numbers h and c of each segment,
    and a flow q without labels that is fitted first. f and the rest are trained to tell data from rows of q whose
    labels are drawn apart from them (noise contrast): then ``c_y = -log Z(y)``, and log q falls out of the logit.
    Of zero-mean sources whose variances change between segments, ``|f|`` estimates ``|s|`` up to order and scale:
    labels say nothing about signs. About a third of the single runs stick at a poor optimum, so restarts are part of
    the method; all of them see the same noise, without which their held-out losses cannot be compared.

    Args:
        n_components: number of features, by default as many as columns.
        objective: ``"nce"`` as above, or ``"dsm"``: denoising score matching of white rows, without noise flow and c_y.
        squares: head of :class:`~logprob.energy.ConditionalEnergy`: ``"free"``, ``"tied"`` or None.
        linear: whether a head with free squares also has ``sum_i f_i g_yi``, for means that change.
        base: whether there is b. What does not depend on y has to go somewhere.
        tilted: whether u has ``log q``; otherwise b has to learn all of it.
        readout: ``"abs"``, ``"raw"``, ``"ica"`` or ``"statistics"``, see :class:`Readout`.
        hidden: width of the one hidden layer of f and of b.
        activation: of both; by default maxout, and softplus for ``"dsm"``, whose loss needs second derivatives.
        noise_ratio: rows of noise for a row of data.
        noise_rows: rows of noise drawn once, of which each step takes some.
        noise_layers: layers of the flow.
        noise_restarts: copies of the flow, of which the best is kept.
        noise_steps: steps of the flow.
        sigma: of the noise in ``"dsm"``, in units of white rows.
        restarts: number of copies of the energy.
        held_out: share of rows held out for the selection.
        batch_size: rows of data of a step.
        steps: number of steps of the energy.
        learning_rate: of Adam, falling to zero along a cosine.
        random_state: seed or numpy RandomState.
        progress: show a bar, where rich is installed.
        device: where training runs.

    Attributes:
        classes_, history_, held_out_losses_, selected_, model_, whitening_: as in :class:`IdentifiableEstimator`;
            lines of the history have a ``stage``, noise or energy.
        scored_: such as ``"|energy.f|"``.
        log_partition_: estimates ``-c_y`` of the log-normalisers of ``u - c_y``, ``(K,)``, in nats, of white rows.
        class_prior_: frequencies of the segments, by which labels of noise are drawn, ``(K,)``.
        noise_: the flow.
        readout_: the fitted read-out.

    References:
        Khemakhem, Monti, Kingma and Hyvarinen, "ICE-BeeM: Identifiable Conditional Energy-Based Deep Models Based on
        Nonlinear ICA", NeurIPS 2020; Gao et al., "Flow Contrastive Estimation of Energy-Based Models", CVPR 2020.

    Example:
        >>> rng = np.random.RandomState(0)
        >>> y = np.repeat(np.arange(10), 50)
        >>> X = (rng.randn(500, 2) * np.exp(rng.randn(10, 2))[y]) @ rng.randn(2, 2)
        >>> tiny = {"restarts": 2, "steps": 30, "noise_steps": 30, "noise_rows": 2000}
        >>> model = ICEBeeM(**tiny, random_state=0).fit(X, y)
        >>> model.transform(X).shape, model.scored_, model.log_partition_.shape
        ((500, 2), '|energy.f|', (10,))
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        objective: Literal["nce", "dsm"] = "nce",
        squares: Literal["free", "tied"] | None = "free",
        linear: bool = False,
        base: bool = True,
        tilted: bool = True,
        readout: Kind = "abs",
        hidden: int = 20,
        activation: Literal["maxout", "softplus", "tanh", "silu", "leaky-relu"] | None = None,
        noise_ratio: int = 4,
        noise_rows: int = 200_000,
        noise_layers: int = 2,
        noise_restarts: int = 2,
        noise_steps: int = 3000,
        sigma: float = 0.1,
        restarts: int = 8,
        held_out: float = 0.1,
        batch_size: int = 512,
        steps: int = 4000,
        learning_rate: float = 1e-2,
        random_state: Any = None,
        progress: bool = False,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.objective = objective
        self.squares = squares
        self.linear = linear
        self.base = base
        self.tilted = tilted
        self.readout = readout
        self.hidden = hidden
        self.activation = activation
        self.noise_ratio = noise_ratio
        self.noise_rows = noise_rows
        self.noise_layers = noise_layers
        self.noise_restarts = noise_restarts
        self.noise_steps = noise_steps
        self.sigma = sigma
        self.restarts = restarts
        self.held_out = held_out
        self.batch_size = batch_size
        self.steps = steps
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.progress = progress
        self.device = device

    def noise_features(self, X: Any) -> Array:
        """Latents of the noise flow ``(N, D)``: a control that knows no labels, and not the features of the energy."""
        check_is_fitted(self)
        self._check_contrast("noise_features")
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        values: Array = in_chunks(self.noise_.features, self._white(X)).numpy().astype(X.dtype)
        return values

    def energy_features(self, X: Any) -> Array:
        """f ``(N, m)``, whatever ``readout`` is."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        values: Array = in_chunks(self.model_.features, self._white(X)).numpy().astype(X.dtype)
        return values

    def _check_parameters(self) -> None:
        super()._check_parameters()
        Readout(self.readout)
        if self.objective not in ("nce", "dsm"):
            raise ValueError(f"objective must be 'nce' or 'dsm', got {self.objective!r}")
        self._check_counts("hidden", "noise_ratio", "noise_rows", "noise_layers", "noise_restarts", "noise_steps")
        if not self.sigma > 0:
            raise ValueError(f"sigma must be positive, got {self.sigma}")

    def _check_contrast(self, what: str) -> None:
        if self.objective != "nce":
            raise AttributeError(f"{what} needs objective='nce', got {self.objective!r}, which has no noise flow")

    def _make(self, train: Batch, classes: int, copies: int) -> ConditionalEnergy:
        columns = train.x.shape[-1]
        features = columns if self.n_components is None else self.n_components
        activation = self.activation or ("maxout" if self.objective == "nce" else "softplus")
        network = StackedMLP(columns, features, (self.hidden,), activation, copies)
        return ConditionalEnergy(
            network,
            classes,
            features,
            squares=self.squares,
            linear=self.linear or self.squares != "free",
            base=StackedMLP(columns, 1, (self.hidden,), activation, copies) if self.base else None,
            log_norm="per-condition" if self.objective == "nce" else None,
            copies=copies,
        )

    def _before_training(self, train: Batch) -> None:
        """Law of the labels, seed of the held-out noise, and a flow that is not fitted yet."""
        assert train.context is not None
        self.class_prior_ = (train.context.bincount(minlength=len(self.classes_)) / len(train.x)).cpu().numpy()
        self._held_out_seed = _seed()
        self.scored_ = Readout(self.readout).describe("energy.f")
        if self.objective == "nce":
            with seeded(self._held_out_seed):  # so that training has the random numbers that it would have without
                flow = ScaleMixtureFlow(train.x.shape[-1], self.noise_layers)
            self.noise_ = flow.eval().requires_grad_(False)

    def _train(self, model: ConditionalEnergy, train: Batch, held_out: Batch) -> list[dict[str, Any]]:
        history: list[dict[str, Any]] = []
        losses = lambda index: self._score_matching(model, train.rows(index))  # noqa: E731
        if self.objective == "nce":
            history = self._fit_noise(train, held_out)
            data, pool = self._with_log_q(train), _moved(draw_noise(self.noise_, self.noise_rows), train.x.device)
            losses = lambda index: self._contrast(model, data.rows(index), *self._taken(pool, data, len(index)))  # noqa: E731
        energy = self._descend(model, losses, train, held_out, "energy")
        return [*history, *({"stage": "energy", **record} for record in energy)]

    def _fit_noise(self, train: Batch, held_out: Batch) -> list[dict[str, Any]]:
        self.noise_, history = fit_noise(
            train,
            held_out,
            layers=self.noise_layers,
            copies=self.noise_restarts,
            steps=self.noise_steps,
            batch_size=self.batch_size,
            progress=self.progress,
        )
        return history

    def _taken(self, pool: NoiseRows, data: Batch, rows: int) -> tuple[NoiseRows, Tensor]:
        """Noise of a step, with labels of rows of data drawn apart from it."""
        assert data.context is not None
        index = torch.randint(len(pool.x), (self.noise_ratio * rows,)).to(pool.x.device)
        labels = data.context[torch.randint(len(data.x), (len(index),)).to(index.device)]
        return NoiseRows(pool.x[index], pool.log_q[index]), labels

    def _contrast(self, model: ConditionalEnergy, data: Batch, noise: NoiseRows, labels: Tensor) -> Tensor:
        """The contrastive loss; ``target`` of the data is ``log q``. One call of the energy for both."""
        assert data.context is not None
        law = model(torch.cat([data.context, labels]))
        ratio = law.unnormalized_log_prob(torch.cat([data.x, noise.x]))  # (*copies, N + M)
        if not self.tilted:
            assert data.target is not None
            ratio = ratio - torch.cat([data.target, noise.log_q])
        rows = len(data.x)
        return contrastive_loss(ratio[..., :rows], ratio[..., rows:], self.noise_ratio)

    def _score_matching(self, model: ConditionalEnergy, batch: Batch) -> Tensor:
        """``1/2 E |sigma score(x + v) + v / sigma|^2``, ``sigma^2`` times the usual scale."""
        noise = self.sigma * torch.randn_like(batch.x)
        return denoising_losses(model(batch.context), batch.x, noise, self.sigma).mean(-1) / self.sigma**2

    def _losses(self, model: ConditionalEnergy, batch: Batch) -> Tensor:
        return self._held_out_losses(model, batch)

    def _held_out_losses(self, model: ConditionalEnergy, held_out: Batch) -> Tensor:
        """The loss with the same noise for all copies and at all times."""
        with seeded(self._held_out_seed, held_out.x.device):
            if self.objective == "dsm":
                return self._score_matching(model, held_out)
            noise = _moved(draw_noise(self.noise_, self._held_out_noise()), held_out.x.device)
            prior = torch.from_numpy(self.class_prior_)
            labels = torch.multinomial(prior, len(noise.x), replacement=True).to(held_out.x.device)
        return self._contrast(model, self._with_log_q(held_out), noise, labels)

    def _held_out_noise(self) -> int:
        return min(HELD_OUT_NOISE, max(1, int(TINY_NOISE * self.noise_rows)))

    def _with_log_q(self, rows: Batch) -> Batch:
        log_q = in_chunks(self.noise_().log_prob, rows.x.cpu(), dim=0).to(rows.x.device)
        return Batch(rows.x, rows.context, log_q)

    def _after_fit(self, train: Batch) -> None:
        self.readout_ = Readout(self.readout, _seed()).fit(in_chunks(self.model_.features, train.x))
        if self.objective == "nce":
            self.log_partition_ = -self.model_.offset.detach().double().numpy()

    def _features(self, model: ConditionalEnergy, batch: Batch) -> Tensor:
        return self.readout_.transform(model.features(batch.x).detach())


def _moved(noise: NoiseRows, device: torch.device) -> NoiseRows:
    return NoiseRows(noise.x.to(device), noise.log_q.to(device))


def _seed() -> int:
    return int(torch.randint(2**31 - 1, ()).item())
