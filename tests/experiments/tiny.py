"""Models and data that train in milliseconds; recipes name them by `imports: [tiny]`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from logprob.batch import Batch
from logprob.data import Dataset, DataSource
from logprob.distributions import DistributionModule, UnnormalizedDistribution
from logprob.objectives import Loss, NegativeLogLikelihood


class TinyGaussian(DistributionModule):
    """Diagonal Gaussian; noise on its mean while it trains, so that the random state matters."""

    def __init__(self, variables: int, noise: float = 0.0) -> None:
        super().__init__()
        if noise < 0:
            raise ValueError(f"noise must be at least 0, got {noise}")
        self.loc = nn.Parameter(torch.randn(variables))
        self.log_scale = nn.Parameter(torch.zeros(variables))
        self.register_buffer("shift", torch.zeros(variables))
        self.noise = noise

    def initialize(self, x: Tensor) -> None:
        self.shift.copy_(x.nan_to_num().mean(0))

    def forward(self, context: Tensor | None = None) -> torch.distributions.Distribution:
        loc = self.loc + self.shift
        if self.training:
            loc = loc + self.noise * torch.randn_like(loc)
        return torch.distributions.Independent(torch.distributions.Normal(loc, self.log_scale.exp()), 1)


@dataclass(frozen=True)
class TinyRows(DataSource):
    """Gaussian rows; `nan` puts one missing value into row 3, column 1 of the training rows."""

    rows: int = 64
    variables: int = 2
    nan: bool = False
    seed: int = 0

    def load(self, root: str | Path | None = None) -> Dataset:
        x = 3 + torch.randn(3, self.rows, self.variables, generator=torch.Generator().manual_seed(self.seed))
        if self.nan:
            x[0, 3, 1] = torch.nan
        return Dataset("tiny", *(Batch(part) for part in x), provenance={"rule": "tiny", "seed": self.seed})


@dataclass(frozen=True)
class TinyCodes(DataSource):
    """Integer codes in place of a table or of images that the machine does not have."""

    variables: int = 16
    categories: int = 2
    image: bool = False
    rows: int = 48

    def load(self, root: str | Path | None = None) -> Dataset:
        generator = torch.Generator().manual_seed(0)
        shape = (3, self.rows, self.variables)
        codes = torch.randint(self.categories, shape, generator=generator)
        side = round(self.variables**0.5)
        image_shape = (1, side, side) if self.image else None
        return Dataset("tiny codes", *(Batch(c) for c in codes), categories=self.categories, image_shape=image_shape)


@dataclass(frozen=True)
class Slow:
    """Maximum likelihood at a pace that lets a test kill it."""

    seconds: float = 0.005

    def __call__(self, model: DistributionModule, batch: Batch) -> Loss:
        time.sleep(self.seconds)
        return NegativeLogLikelihood()(model, batch)


class Explodes(nn.Module):
    """Maximum likelihood whose loss is NaN at one update."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, model: DistributionModule, batch: Batch) -> Loss:
        self.calls += 1
        loss = NegativeLogLikelihood()(model, batch)
        return Loss(loss.value * torch.nan, {}) if self.calls == self.at else loss


class Remembers(nn.Module):
    """Maximum likelihood with all kinds of state: a buffer made at the first call, a parameter, a count, a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.empty(0))
        self.average: Tensor
        self.scale = nn.Parameter(torch.rand(()))
        self.calls, self.epochs = 0, 0

    def forward(self, model: DistributionModule, batch: Batch) -> Loss:
        loss = NegativeLogLikelihood()(model, batch).value
        self.calls += 1
        seen = loss.detach()[None]
        self.average = seen if not self.average.numel() else 0.9 * self.average + 0.1 * seen
        weight = 1 + 0.1 * torch.tanh(self.average[0]) + 0.01 * self.scale + 0.001 * (self.calls % 5)
        return Loss(loss * weight, {"weight": weight.detach()})

    def finish_epoch(self, model: DistributionModule) -> None:
        self.epochs += 1
        with torch.no_grad():
            model.get_buffer("shift").add_(0.01 * self.epochs)

    def get_extra_state(self) -> dict[str, object]:
        return {"calls": torch.tensor(self.calls), "epochs": (self.epochs,)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.calls, (self.epochs,) = int(state["calls"]), state["epochs"]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        self.average = torch.empty_like(state[f"{prefix}average"])
        super()._load_from_state_dict(state, prefix, *rest)


class Centres(nn.Module):
    """Maximum likelihood of rows from which it has, at the start of its phase, taken a random number."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[int] = []
        self.register_buffer("seed", torch.zeros((), dtype=torch.int64))
        self.seed: Tensor

    def prepare(self, model: DistributionModule, rows: Batch) -> Batch:
        self.prepared.append(len(rows.x))
        self.seed.copy_(torch.randint(1000, ()))
        return Batch(rows.x, target=rows.x.sum(1))

    def forward(self, model: DistributionModule, batch: Batch) -> Loss:
        assert batch.target is not None
        assert torch.equal(batch.target, batch.x.sum(1))
        loss = NegativeLogLikelihood()(model, Batch(batch.x)).value
        return Loss(loss * (1 + 1e-3 * self.seed), {})


class BreaksGradient(nn.Module):
    """Maximum likelihood whose gradient, but not its loss, is NaN at one update."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, model: DistributionModule, batch: Batch) -> Loss:
        self.calls += 1
        loss = NegativeLogLikelihood()(model, batch).value
        zero = (loss - loss.detach()).abs().sqrt()  # of infinite slope
        return Loss(loss + zero if self.calls == self.at else loss, {})


@dataclass(frozen=True)
class Jitter:
    """Noise on the rows of images of a known shape."""

    image_shape: tuple[int, int, int] | None = None
    size: float = 0.1

    def __call__(self, batch: Batch, /) -> Batch:
        return batch._replace(x=batch.x + self.size * torch.randn_like(batch.x))


class TinyPixels(DistributionModule):
    """Independent pixels; `bound` hides their exact log-probability."""

    def __init__(self, variables: int, categories: int, bound: Literal["exact", "bound", "none"] = "exact") -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(variables, categories))
        self.bound = bound

    def forward(self, context: Tensor | None = None) -> torch.distributions.Distribution:
        exact = torch.distributions.Independent(torch.distributions.Categorical(logits=self.logits), 1)
        return exact if self.bound == "exact" else _Hidden(exact, self.bound == "bound")


class _Hidden(UnnormalizedDistribution):
    def __init__(self, exact: torch.distributions.Distribution, bounded: bool) -> None:
        super().__init__(exact.batch_shape, exact.event_shape, validate_args=False)
        self.exact = exact
        if bounded:
            self.log_prob_bound = exact.log_prob


@dataclass(frozen=True)
class PixelMetric:
    """The log-likelihood of pixels, hidden or not."""

    def __call__(self, model: DistributionModule, batch: Batch) -> dict[str, float]:
        return {"log_likelihood": -PixelObjective()(model, batch).value.item()}


class PixelObjective(nn.Module):
    """Maximum likelihood of pixels whose distribution hides it."""

    def forward(self, model: DistributionModule, batch: Batch) -> Loss:
        distribution: Any = model()
        return Loss(-getattr(distribution, "exact", distribution).log_prob(batch.x).mean(), {})


def not_a_class(x: int) -> int:
    """Something that no recipe may call."""
    raise AssertionError("called")
