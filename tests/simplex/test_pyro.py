"""The laws inside of Pyro's models and guides."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from logprob.simplex.concrete import Concrete
from logprob.simplex.invertible_gaussian import InvertibleGaussian

pyro = pytest.importorskip("pyro")
dist = pytest.importorskip("pyro.distributions")
infer = pytest.importorskip("pyro.infer")

CATEGORIES, PIXELS = 4, 24


@pytest.fixture
def rows():
    """Rows of pixels of one of four kinds."""
    kinds = 4 * torch.randn(CATEGORIES, PIXELS)
    return torch.bernoulli(torch.sigmoid(kinds[torch.randint(CATEGORIES, (100,))]))


class Autoencoder(nn.Module):
    def __init__(self, posterior, prior):
        super().__init__()
        self.posterior, self.prior = posterior, prior
        self.encoder, self.decoder = nn.Linear(PIXELS, 2 * CATEGORIES), nn.Linear(CATEGORIES, PIXELS)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", self.prior())  # without a batch: the plate widens it
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("rows", len(x)):
            pyro.sample("z", self.posterior(self.encoder(x)))


def gaussian(numbers):
    return InvertibleGaussian(*(part[..., 1:] for part in numbers.chunk(2, -1)), 0.5)


def concrete(numbers):
    return Concrete(0.5, numbers[..., :CATEGORIES])


def uniform():
    return InvertibleGaussian.uniform(CATEGORIES, temperature=0.5)


CASES = {
    "Gaussian, sampled": (gaussian, uniform, "Trace_ELBO"),
    "Gaussian, closed": (gaussian, uniform, "TraceMeanField_ELBO"),
    "Concrete": (concrete, lambda: Concrete(0.5, torch.zeros(CATEGORIES)), "Trace_ELBO"),
}


@pytest.mark.parametrize("name", CASES)
def test_svi_trains(name, rows):
    posterior, prior, elbo = CASES[name]
    pyro.clear_param_store()
    pair = Autoencoder(posterior, prior)
    svi = infer.SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.03}), getattr(infer, elbo)())
    losses = torch.tensor([svi.step(rows) for _ in range(250)]) / len(rows)
    assert losses.isfinite().all()
    independent = nn.functional.binary_cross_entropy(rows.mean(0).expand_as(rows), rows) * PIXELS
    assert losses[-20:].mean() < independent - 1  # it learns more than each pixel's own frequency


def test_what_pyro_asks_of_a_distribution():
    q = InvertibleGaussian(torch.zeros(3, 5, 2), 0.0)
    assert (q.event_dim, q.shape((7,))) == (1, (7, 3, 5, 3))
    assert q().shape == (3, 5, 3)
    assert q.expand_by((2,)).batch_shape == (2, 3, 5)
    joint = q.to_event(1)
    value = joint()
    assert joint.log_prob(value).shape == (3,)
    torch.testing.assert_close(joint.log_prob(value), q.log_prob(value).sum(-1))
    assert q.mask(torch.tensor(False)).log_prob(value).eq(0).all()
    assert q.score_parts(value).score_function == 0
    assert isinstance(q, dist.torch_distribution.TorchDistributionMixin)


def test_pyro_is_imported_by_those_who_use_it():
    code = "import logprob.simplex as s, torch, sys; s.Concrete(1.0, torch.zeros(2))(); print('pyro' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
