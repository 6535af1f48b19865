"""ICE-BeeM as its simulations ran and scored it, so that published numbers can be made again, and looked at."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from logprob.estimators.base import Array, IdentifiableEstimator, seeded
from logprob.estimators.published_fce import PublishedSchedule, Stage, contrast, contrast_loss, train_published
from logprob.estimators.published_pair import PublishedPair, published_pair
from logprob.estimators.readout import Kind, Readout
from logprob.estimators.training import progress_bar

Scored = Literal["flow.latent", "energy.f"]


class PublishedICEBeeM(IdentifiableEstimator):
    """A conditional energy against the noise of a flow, by the published protocol. Use ``ICEBeeM`` to find sources.

    Its published scores are not of the energy: they were read from the *flow's latents*, after FastICA, and the best
    of four stages was chosen by the true sources. Both read-outs and all stages are here; ``transform`` takes the last
    stage, and ``candidates`` returns what the published score was the maximum over. The contrast is not a valid one,
    see :func:`train_published`, and no row is held out.

    Args:
        n_components: features m of the energy, by default as many as columns. The flow has as many latents as columns.
        scored: what ``transform`` returns: ``"flow.latent"``, as published, or ``"energy.f"``.
        readout: ``"ica"``, as published, or another kind of :class:`Readout`.
        stage: whose; the last by default.
        layers: L of the data; the energy's network has L + 1 hidden layers.
        hidden: their width. Published: 32, and 16 for "imca" data of two layers.
        augment: tied squares.
        positive: ReLU on features and labels.
        sign: of the energy. With tied squares 1, as published, lets it only grow with ``f^2``.
        blocks: of the flow. Published: 10, and 5 for "imca" data of two layers.
        bins: of its splines.
        bound: of its splines.
        conditioner: width of the perceptrons of its splines.
        batch_statistics: features of the energy by the statistics of the rows given, as published: then they depend on
            the rows beside them.
        schedule: phases, rates and when they stop; by default the published ones.
        random_state: seed or numpy RandomState.
        progress: show a bar, where rich is installed.
        device: where training runs; the fitted models are on the CPU.

    Attributes:
        stages_: list of :class:`Stage`: the start and each round.
        history_: list of dicts, one for each epoch: ``stage``, ``phase``, ``epoch``, ``loss``, ``accuracy``.
        model_: the :class:`PublishedPair` of ``stage``.
        selected_: number of that stage.
        scored_: what ``transform`` returns.

    References:
        Khemakhem, Monti, Kingma and Hyvarinen, "ICE-BeeM: Identifiable Conditional Energy-Based Deep Models Based on
        Nonlinear ICA", NeurIPS 2020, and its code; Gao et al., "Flow Contrastive Estimation of Energy-Based Models",
        CVPR 2020.

    Example:
        >>> import numpy as np
        >>> X, y = np.random.RandomState(0).randn(60, 3), np.arange(60) % 4
        >>> few = PublishedSchedule(label_epochs=1, energy_epochs=1, rounds=1, fooling_epochs=1, round_epochs=1)
        >>> estimator = PublishedICEBeeM(blocks=2, schedule=few, readout="raw", random_state=0).fit(X, y)
        >>> estimator.transform(X).shape, estimator.scored_, list(estimator.candidates(X))
        ((60, 3), 'flow.latent', ['start', 'round 1'])
    """

    _whitens = False

    def __init__(
        self,
        n_components: int | None = None,
        *,
        scored: Scored = "flow.latent",
        readout: Kind = "ica",
        stage: int = -1,
        layers: int = 2,
        hidden: int = 32,
        augment: bool = True,
        positive: bool = False,
        sign: Literal[1, -1] = 1,
        blocks: int = 10,
        bins: int = 8,
        bound: float = 3.0,
        conditioner: int = 16,
        batch_statistics: bool = False,
        schedule: PublishedSchedule | None = None,
        random_state: Any = None,
        progress: bool = False,
        device: str = "cpu",
    ) -> None:
        self.n_components, self.scored, self.readout, self.stage = n_components, scored, readout, stage
        self.layers, self.hidden, self.augment, self.positive, self.sign = layers, hidden, augment, positive, sign
        self.blocks, self.bins, self.bound, self.conditioner = blocks, bins, bound, conditioner
        self.batch_statistics, self.schedule, self.random_state = batch_statistics, schedule, random_state
        self.progress, self.device = progress, device

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X ``(N, D)`` and their segments y ``(N,)``, integers or strings.

        Raises:
            ValueError: for less than two rows, columns or segments, NaN or infinity, or a parameter out of its range.
        """
        self._check_parameters()
        rows, labels = self._validated(X, y)
        if rows.shape[1] < 2:
            raise ValueError(f"expected at least 2 columns (features) in X, got {rows.shape[1]} feature(s)")
        self.whitening_ = None
        self.scored_ = Readout(self.readout).describe(self.scored)
        stream = check_random_state(self.random_state)
        with seeded(stream.randint(2**31 - 1), self.device):
            x, labels = self._white(rows).to(self.device), labels.to(self.device)
            pair = self._pair(x.shape[1]).to(self.device)
            self.stages_ = self._stages(pair, x, labels)
        self._seed = stream.randint(2**31 - 1)  # of FastICA and of the noise of score
        self.history_ = [record for stage in self.stages_ for record in stage.history]
        self.selected_ = range(len(self.stages_))[self.stage]
        self.model_ = self.stages_[self.selected_].model
        self._rows = torch.from_numpy(rows.astype(np.float64))
        self._linear: dict[tuple[int, str], Readout] = {}
        self._n_features_out = self._read(self.selected_, self._rows[:2], self.scored).shape[-1]
        return self

    def transform(self, X: Any) -> Array:
        """What ``scored`` and ``readout`` say, of the chosen stage, ``(N, m)``."""
        return self._features_of(X, self.scored)

    def noise_features(self, X: Any) -> Array:
        """The flow's latents by the same read-out, whatever ``scored`` says."""
        return self._features_of(X, "flow.latent")

    def energy_features(self, X: Any) -> Array:
        """The energy's f by the same read-out, whatever ``scored`` says."""
        return self._features_of(X, "energy.f")

    def candidates(self, X: Any) -> dict[str, Array]:
        """Features of every stage by its name. A maximum of scores over them is chosen by the truth."""
        return {stage.name: self._features_of(X, self.scored, k) for k, stage in enumerate(self.stages_)}

    def score(self, X: Any, y: Any) -> float:
        """Minus the published contrast's loss over rows and as much noise, the same noise at each call; in nats."""
        check_is_fitted(self)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=False)
        with seeded(self._seed), torch.no_grad():
            return -float(contrast_loss(self.model_, contrast(self.model_, self._white(X), self._encoded(y), True)))

    def _features_of(self, X: Any, scored: Scored, stage: int | None = None) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        rows = torch.from_numpy(X.astype(np.float64))
        features = self._read(self.selected_ if stage is None else stage, rows, scored)
        answer: Array = features.numpy().astype(X.dtype)
        return answer

    def _read(self, stage: int, x: Tensor, scored: Scored) -> Tensor:
        """Features of rows by a read-out that is learned from the training rows when it is first asked for."""
        key = (stage, scored)
        if key not in self._linear:
            features = self._raw(stage, self._rows, scored)
            self._linear[key] = Readout(self.readout, self._seed).fit(features)
        return self._linear[key].transform(self._raw(stage, x, scored))

    def _raw(self, stage: int, x: Tensor, scored: Scored) -> Tensor:
        if scored == "flow.latent":
            return self.stages_[stage].latents(x)
        return self.stages_[stage].features(x, self.batch_statistics)

    def _pair(self, variables: int) -> PublishedPair:
        return published_pair(
            variables,
            len(self.classes_),
            variables if self.n_components is None else self.n_components,
            blocks=self.blocks,
            bins=self.bins,
            bound=self.bound,
            conditioner=self.conditioner,
            hidden=self.hidden,
            layers=self.layers,
            augment=self.augment,
            positive=self.positive,
            sign=self.sign,
        )

    def _stages(self, pair: PublishedPair, x: Tensor, y: Tensor) -> list[Stage]:
        schedule = PublishedSchedule() if self.schedule is None else self.schedule
        done = 0
        with progress_bar(3 + 2 * schedule.rounds, type(self).__name__, self.progress) as show:

            def after_phase(loss: float) -> None:
                nonlocal done
                done += 1
                show(done, loss)

            stages = train_published(pair, x, y, schedule, after_phase)
        for stage in stages:
            stage.model.cpu()
        return stages

    def _check_parameters(self) -> None:
        if self.scored not in get_args(Scored):
            raise ValueError(f"scored must be one of {', '.join(get_args(Scored))}, got {self.scored!r}")
        self._check_counts("layers", "hidden", "blocks", "conditioner")
        if self.n_components is not None:
            self._check_counts("n_components")
        stages = 1 + (PublishedSchedule() if self.schedule is None else self.schedule).rounds
        if not -stages <= self.stage < stages:
            raise ValueError(f"stage must be one of the {stages} that the schedule has, got {self.stage}")
