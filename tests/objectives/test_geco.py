"""GECO: the sequence of weights, its bounds, and its state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from logprob.flows import Energy
from logprob.objectives import GECO

FILE = Path(__file__).parents[1] / "golden" / "snf" / "geco.npz"


@pytest.mark.parametrize("rule", ["target", "paper"])
def test_the_weights_follow_the_rule(rule):
    file = np.load(FILE, allow_pickle=False)
    rate, decay, target, initial, lowest, highest = file["settings"].tolist()
    geco = GECO(target, rate, decay, initial, (lowest, highest), rule=rule).double()
    for energy, ema, weight in zip(file["E"], file["ema"], file[f"lambda_{rule}"], strict=True):
        geco([Energy(torch.tensor(energy, dtype=torch.float64), 1)])
        np.testing.assert_allclose(geco.ema.item(), ema, rtol=1e-9)
        np.testing.assert_allclose(geco.log_weights.exp().item(), weight, rtol=1e-9)


def test_the_target_is_per_dimension_and_the_layers_are_apart():
    geco = GECO(target=0.1, rate=0.5)
    energies = [Energy(torch.tensor(0.4), 4), Energy(torch.tensor(0.4), 2), Energy(torch.tensor(0.4), 8)]
    assert geco(energies).tolist() == [1.0, 1.0, 1.0]
    stays, grows, shrinks = geco(energies).tolist()
    assert stays == pytest.approx(1.0)
    assert grows > 1 > shrinks


def test_weights_stay_in_their_bounds_and_finite():
    geco = GECO(target=1e-6, rate=1e3, bounds=(1e-2, 1e2))
    for energy in (1e30, 1e30, 0.0, 0.0):
        weight = geco([Energy(torch.tensor(energy), 1)])
        assert torch.isfinite(weight).all()
        assert 0.0099 <= weight.item() <= 100.01


def test_a_violation_counts_up_to_its_limit():
    limited = GECO(target=0.1, rate=1.0, violation=1.0)
    limited([Energy(torch.tensor(1e6), 1)])
    assert limited.log_weights.item() == pytest.approx(1.0)


def test_its_state_goes_on_where_it_was():
    torch.manual_seed(1)
    energies = [[Energy(e, 2) for e in torch.rand(3)] for _ in range(10)]
    whole, first, second = (GECO(target=0.1, rate=0.3) for _ in range(3))
    expected = [whole(e) for e in energies]
    for e in energies[:5]:
        first(e)
    second.load_state_dict(first.state_dict())
    for e, weights in zip(energies[5:], expected[5:], strict=True):
        assert torch.equal(second(e), weights)


@pytest.mark.parametrize(
    "wrong", [{"target": 0.0}, {"rate": -1.0}, {"decay": 1.0}, {"initial": 1e9}, {"bounds": (0.0, 1.0)}]
)
def test_mistakes_are_named(wrong):
    with pytest.raises(ValueError, match=r"positive|expected"):
        GECO(**wrong)


def test_another_number_of_layers_is_refused():
    geco = GECO()
    geco([Energy(torch.tensor(1.0), 1)])
    with pytest.raises(ValueError, match="1 layers, got 2"):
        geco([Energy(torch.tensor(1.0), 1)] * 2)
