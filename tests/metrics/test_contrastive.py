"""The metric is what the objective reports."""

from __future__ import annotations

import pytest
import torch
from objectives.contrast_cases import GaussianEnergy, LearnedNormal

from logprob.batch import Batch
from logprob.energy import ContrastivePair
from logprob.metrics import ContrastiveAccuracy
from logprob.objectives import NoiseContrastive


@pytest.mark.parametrize("tilted", [False, True])
@pytest.mark.parametrize("labels", ["frequencies", "uniform"])
def test_it_says_what_the_objective_reports(tilted, labels):
    torch.manual_seed(0)
    energy, noise = GaussianEnergy(3, 2, copies=2), LearnedNormal(2)
    torch.nn.init.normal_(energy.log_precision)
    pair = ContrastivePair(energy, noise, tilted)
    rows = Batch(torch.randn(60, 2), torch.randint(3, (60,)), torch.randn(60, 7))
    report = NoiseContrastive(ratio=2, labels=labels).report(pair, rows, noise_rows=500, seed=1)
    expected = [value.mean().item() for value in report]
    paired = ContrastiveAccuracy(ratio=2, labels=labels, noise_rows=500, seed=1)(pair, rows)
    assert list(paired.values()) == pytest.approx(expected)
    apart = ContrastiveAccuracy(noise, 2, labels, tilted=tilted, noise_rows=500, seed=1)(energy, rows)
    assert list(apart.values()) == pytest.approx(expected)
    assert list(paired) == ["contrastive_loss", "contrastive_accuracy", "marginal_accuracy"]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="expected a noise"):
        ContrastiveAccuracy()(GaussianEnergy(1, 2), Batch(torch.randn(3, 2)))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ContrastiveAccuracy(ratio=0)
