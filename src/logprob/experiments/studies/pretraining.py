"""What the studies of image energies share: data, network, training, and weights that a later cell takes up."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from logprob.batch import Batch
from logprob.data import Dataset, DataSource, FlipAndTranslate, IdxImages, LabelledImages
from logprob.distributions import DistributionModule
from logprob.distributions.draws import fixed_draws
from logprob.distributions.score_matching import denoising_factor, denoising_losses
from logprob.energy import ConditionalEnergy, UnconditionalEnergy
from logprob.experiments.seeding import seed_everything
from logprob.experiments.studies.base import Workbench
from logprob.nn import FullMLP
from logprob.objectives import DenoisingScoreMatching, zero_energy_loss

Protocol = Literal["audited", "paper"]
Kind = Literal["conditional", "unconditional", "random"]
Labels = str | Sequence[int]
Energy = ConditionalEnergy | UnconditionalEnergy

SMOKE_ROWS, SMOKE_STEPS, SMOKE_BATCH = 60, 2, 8  # a smoke run stands for no result
CHUNK = 500  # rows scored at once
SCALE = 1e4  # published tables multiply losses by this


@dataclass(frozen=True)
class ImageEnergies:
    """How energies of images are made and trained, the same in every study.

    Args:
        data: source of images as codes, with labels; all its training rows are used, the validation rows for nothing.
        network: f, called with the number of pixels and ``features``; one that has an argument ``image_shape`` is told
            that, too.
        features: number m of outputs of f.
        squares: of the conditional energy, as in :class:`~logprob.energy.ConditionalEnergy`.
        positive: likewise.
        sign: likewise.
        objective: with the noise; it is told the shape of the images.
        optimizer: class of torch.optim and its arguments.
        batch_size: rows of an update.
        steps: updates of the pretraining.
        flip: whether images are mirrored at random in training.
        weights: folder of a study that was run before, its ``cells``; what was trained there in the same way is taken
            instead of being trained again.
    """

    data: DataSource = IdxImages()  # noqa: RUF009  (frozen)
    network: Callable[[Any, Any], nn.Module] = FullMLP
    features: int = 90
    squares: Literal["tied", "free"] | None = None
    positive: bool = False
    sign: Literal[1, -1] = 1
    objective: DenoisingScoreMatching = DenoisingScoreMatching(reduction="paper")  # noqa: RUF009  (frozen)
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = Adam
    batch_size: int = 63
    steps: int = 5001
    flip: bool = False
    weights: str | None = None

    def load(self, bench: Workbench, keep: Labels | None, **choices: Any) -> Dataset:
        """Images of some labels with the labels as conditions, or what stands in for them in a smoke run.

        Args:
            bench: of the study.
            keep: labels, or None for all.
            **choices: further arguments of :class:`~logprob.data.LabelledImages`.
        """
        source = LabelledImages(self.data, keep=keep, **choices)
        if bench.smoke:
            return source.stand_in(SMOKE_ROWS, bench.data_root)
        return source.load(bench.data_root)

    def energy(self, kind: Kind, data: Dataset) -> Energy:
        """A new model of the rows of a data set; a "random" one is a conditional one, not to be trained."""
        network = self.features_of(data)
        if kind == "unconditional":
            return UnconditionalEnergy(network, self.sign)
        return self.conditional(network, data)

    def features_of(self, data: Dataset) -> nn.Module:
        """A new network f."""
        told = {"image_shape": data.image_shape} if "image_shape" in inspect.signature(self.network).parameters else {}
        return self.network(data.variables, self.features, **told)

    def conditional(self, network: nn.Module, data: Dataset) -> ConditionalEnergy:
        """A conditional energy on a network that is given, with new vectors g of the labels of a data set."""
        options: dict[str, Any] = {"squares": self.squares, "positive": self.positive, "sign": self.sign}
        return ConditionalEnergy(network, data.provenance["conditions"], self.features, **options)

    def loss(self, data: Dataset, protocol: Protocol) -> DenoisingScoreMatching:
        """The objective for images of this shape; only as published may it look at whole batches."""
        shape = data.image_shape
        return dataclasses.replace(self.objective, image_shape=shape, allow_batch_norm=protocol == "paper")

    def zero(self, data: Dataset) -> float:
        """Published scale of the loss of an energy that has learned nothing, times 10^4."""
        assert data.image_shape is not None
        return SCALE * zero_energy_loss(data.image_shape, self.objective.sigma)

    def train(
        self,
        model: Energy,
        data: Dataset,
        bench: Workbench,
        protocol: Protocol,
        shuffler: torch.Generator,
        passes: tuple[int, int] | None = None,
        parameters: str = ".*",
    ) -> list[float]:
        """Train a model on the training rows, to the last step: no checkpoint is chosen.

        Args:
            model: changed in place.
            data: whose training rows are fitted.
            bench: of the study.
            protocol: whether batch normalisation may see batches.
            shuffler: generator of the order of the rows.
            passes: passes over the rows, and updates that are made even if those are over before; the steps of the
                pretraining if omitted.
            parameters: regular expression of the names of those that learn.

        Returns:
            Losses of the batches of the last epoch, in the published scale times 10^4.
        """
        # Not above: `schema`, of which `Fit` makes use, knows the studies.
        from logprob.experiments.fit import Fit
        from logprob.experiments.schema import Phase
        from logprob.experiments.stopping import Monitor

        objective, per_epoch = self.loss(data, protocol), -(-len(data.train.x) // self.batch_size)
        steps = self.steps if passes is None else max(passes[0] * per_epoch, passes[1])
        phase = Phase(
            objective=objective,
            optimizer=self.optimizer,
            steps=SMOKE_STEPS if bench.smoke else steps,
            batch_size=min(SMOKE_BATCH, self.batch_size) if bench.smoke else self.batch_size,
            parameters=parameters,
            augmentation=FlipAndTranslate(data.image_shape or (), translate=0.0) if self.flip else None,
            evaluate_every=steps,
        )
        place = torch.device(bench.device)
        train, valid = on_device(data.train, place), on_device(data.valid.rows(slice(0, 1)), place)
        losses, nothing = _LastEpoch(per_epoch), Monitor("nothing", "min")
        Fit(model.to(place), train, valid, [phase], (_Nothing(),), nothing, shuffler, [losses]).run()
        assert data.image_shape is not None
        shown = (objective.reduction, objective.sigma_power, objective.sigma, data.image_shape)
        published = denoising_factor("paper", 4, objective.sigma, data.image_shape) / denoising_factor(*shown)
        return [SCALE * published * loss for loss in losses.values]

    def pretrained(
        self, kind: Kind, keep: Labels | None, seed: int, bench: Workbench, protocol: Protocol, data: Dataset
    ) -> Energy:
        """The model of this kind, seed and labels: trained and kept in ``bench.folder``, or taken from there.

        Args:
            kind: of the energy; "random" is not trained.
            keep: labels of ``data``.
            seed: of the start, the order and the noise.
            bench: of the study.
            protocol: of the training.
            data: the rows.

        Raises:
            ValueError: if there are weights of another training.
        """
        shuffler = seed_everything(seed)
        model = self.energy(kind, data).to(bench.device)
        if kind == "random":
            return model.eval()
        name = f"{kind}-{_short(keep)}-s{seed}.safetensors"
        how = self._how(kind, seed, data, bench, protocol)
        for folder in [bench.folder] + ([] if self.weights is None else [Path(self.weights)]):
            if (folder / name).is_file():
                return load_weights(model, folder / name, how)
        self.train(model, data, bench, protocol, shuffler)
        save_weights(model, bench.folder / name, how)
        return model.eval()

    def _how(self, kind: Kind, seed: int, data: Dataset, bench: Workbench, protocol: Protocol) -> Mapping[str, str]:
        """All that trained weights depend on, so that no others are taken for them."""
        settings = repr(dataclasses.replace(self, weights=None, objective=self.loss(data, protocol)))
        said = {"kind": kind, "seed": seed, "data": data.content_sha256, "settings": settings, "smoke": bench.smoke}
        if not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.features_of(data).modules()):
            said["settings"] = settings.replace("allow_batch_norm=True", "allow_batch_norm=False")  # nothing to allow
        return {name: str(value) for name, value in said.items()}


class Frozen(nn.Module):
    """A network whose features stay as they are: no gradients, and evaluation mode whatever its parent is put into.

    Args:
        network: the trained network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Frozen:
        """Stay as it is."""
        super().train(False)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Features of rows."""
        features: Tensor = self.network(x)
        return features


def held_out_loss(model: Energy, rows: Batch, sigma: float, image_shape: Sequence[int], seed: int = 0) -> float:
    """Mean denoising loss of held-out rows in the published scale times 10^4, in evaluation mode.

    The noise is drawn from the seed, so that all models are compared on the same noisy rows.

    Args:
        model: the energy.
        rows: with the labels as context.
        sigma: of the noise.
        image_shape: of a row.
        seed: of the noise.
    """
    model.eval()
    total = 0.0
    device = next(model.parameters()).device
    with fixed_draws(torch.device("cpu"), seed):
        for start in range(0, len(rows.x), CHUNK):
            part = rows.rows(slice(start, start + CHUNK))
            noise = (sigma * torch.randn(part.x.shape)).to(device)
            part = on_device(part, device)
            losses = denoising_losses(model(part.context), part.x, noise, sigma)
            total += losses.detach().double().sum().item()
    return SCALE * denoising_factor("paper", 4, sigma, image_shape) * total / len(rows.x)


def features_of_rows(model: Energy, x: Tensor, mode: Literal["eval", "train"] = "eval", size: int = CHUNK) -> Tensor:
    """f of all rows, on the CPU, ``(N, m)``.

    Args:
        model: the energy; it is left in evaluation mode.
        x: rows.
        mode: "train" leaves dropout and batch normalisation at work, as the published evaluation does: features then
            depend on chance, and on the rows beside them.
        size: rows of a batch, which matters in training mode.
    """
    device = next(model.parameters()).device
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.train(mode == "train")
    with torch.no_grad():
        features = torch.cat([model.features(part.to(device)).cpu() for part in x.split(size)])
    model.load_state_dict(state)  # running means of batch normalisation have moved
    model.eval()
    return features


def on_device(rows: Batch, device: torch.device) -> Batch:
    """Rows and labels on a device."""
    return Batch(rows.x.to(device), None if rows.context is None else rows.context.to(device))


def save_weights(model: nn.Module, path: Path, how: Mapping[str, str]) -> None:
    """Write the weights, whole or not at all, and how they came about."""
    from safetensors.torch import save

    from logprob.experiments.files import write_atomically

    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_atomically(path, save(weights, dict(how)))


def load_weights(model: Energy, path: Path, how: Mapping[str, str]) -> Energy:
    """Give a model the weights of a file, in evaluation mode.

    Raises:
        ValueError: if they came about in another way.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        said = file.metadata() or {}
        different = next((name for name in how if said.get(name) != how[name]), None)
        if different is not None:
            got = said.get(different)
            raise ValueError(f"{path}: expected weights with {different} {how[different]!r}, got {got!r}")
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  (no mapping)
    return model.eval()


class _Nothing:
    """Stands where the loop wants a metric after the last step; nothing is chosen by it."""

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        return {"nothing": 0.0}


class _LastEpoch:
    """Keeps the losses of the last so many updates.

    Args:
        count: updates of an epoch.
    """

    def __init__(self, count: int) -> None:
        self.count, self.values = count, list[float]()

    def on_step(self, fit: Any, loss: float) -> None:
        """Keep the loss, and drop the one that is too old."""
        self.values = [*self.values[-self.count + 1 :], loss] if self.count > 1 else [loss]

    def on_epoch(self, fit: Any, record: Mapping[str, Any]) -> None:
        """Do nothing."""

    def on_save(self, fit: Any) -> None:
        """Do nothing."""


def _short(keep: Labels | None) -> str:
    """Labels as a part of a file's name."""
    text = "all" if keep is None else keep if isinstance(keep, str) else "-".join(map(str, keep))
    return text if len(text) <= 20 else hashlib.sha256(text.encode()).hexdigest()[:8]
