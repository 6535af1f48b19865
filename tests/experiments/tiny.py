"""Models and data that train in milliseconds; recipes name them by `imports: [tiny]`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from logprob.batch import Batch
from logprob.data import Dataset, DataSource
from logprob.distributions import DistributionModule
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


def not_a_class(x: int) -> int:
    """Something that no recipe may call."""
    raise AssertionError("called")
