from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from logprob.data import ica
from logprob.estimators import TCL
from logprob.estimators.averaging import MovingAverage
from logprob.metrics import mcc


def rows(per_segment=100, dim=2, layers=1, segments=10):
    data = ica.tcl(n_segments=segments, n_per_segment=per_segment, layers=layers, dim=dim, seed=1)
    turn = np.linalg.qr(np.random.RandomState(0).randn(dim, dim))[0]
    return np.asarray(data.x) @ turn, np.asarray(data.y), np.asarray(data.sources)


def quick(**changes):
    return TCL(**{"layers": 1, "restarts": 3, "head_steps": 50, "steps": 400, "random_state": 0, **changes})


def test_it_undoes_a_rotation():
    # with few segments, scales of two sources go together by chance, and so do features
    x, y, s = rows(per_segment=75, segments=40)
    model = quick(steps=1500).fit(x, y)
    features = model.transform(x)
    assert features.shape == s.shape
    assert model.scored_ == "FastICA(tcl.features)"
    assert mcc(s, features, target="abs").score > 0.9  # a shuffled score is below 0.1
    assert mcc(s, x, target="abs").score < 0.5


def test_the_restart_with_the_lowest_cross_entropy_is_kept():
    x, y, _ = rows()
    model = quick(steps=50).fit(x, y)
    assert model.selected_ == model.held_out_losses_.argmin()
    assert model.held_out_losses_.shape == (3,)
    assert [record["step"] for record in model.history_] == sorted(record["step"] for record in model.history_)
    assert model.history_[-1]["step"] == 100
    # the score is minus the cross entropy, in nats: near log 10 at the start, below it when something was learned
    assert model.score(x, y) == pytest.approx(-np.mean(cross_entropy(model, x, y)), abs=1e-9)


def cross_entropy(model, x, y):
    logits = model.model_(model.whitening_(torch.from_numpy(x)).float().double()).detach().numpy()
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]


def test_the_first_phase_moves_the_softmax_layer_alone():
    x, y, _ = rows()
    still = quick(head_steps=30, steps=1, learning_rate=1e-12, readout="raw").fit(x, y)
    moved = quick(head_steps=0, steps=1, learning_rate=1e-12, readout="raw").fit(x, y)
    np.testing.assert_allclose(still.transform(x), moved.transform(x), atol=1e-6)
    learned = quick(head_steps=300, steps=1, readout="raw").fit(x, y)
    assert learned.history_[9]["held_out_losses"] != learned.history_[0]["held_out_losses"]


def test_only_weights_decay():
    parameters = [nn.Parameter(torch.ones(2, 3, 4)), nn.Parameter(torch.ones(2, 3))]
    groups = TCL(weight_decay=0.5)._descent(parameters, 0.1).param_groups
    assert [
        (group["params"][0] is value, group["weight_decay"]) for group, value in zip(groups, parameters, strict=True)
    ] == [
        (True, 0.5),
        (True, 0),
    ]


def test_the_average_of_parameters_is_what_its_formula_says():
    value, expected = torch.zeros(1, dtype=torch.float64), 0.0
    average = MovingAverage([value], decay=0.5)
    for step in range(1, 30):
        value.fill_(step**2)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step**2
    average.copy_to_parameters()
    assert value.item() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match=r"got 1\.0"):
        MovingAverage([value], decay=1.0)


def test_the_published_schedule_and_its_average():
    assert TCL.published().get_params()["average"] == 0.9999
    assert (TCL.published().head_steps, TCL.published(steps=7).steps) == (10_000, 7)
    x, y, _ = rows()
    slow = TCL.published(layers=1, head_steps=10, steps=20, random_state=0, readout="raw").fit(x, y)
    plain = TCL.published(layers=1, head_steps=10, steps=20, average=None, random_state=0, readout="raw").fit(x, y)
    assert not np.allclose(slow.transform(x), plain.transform(x))


def test_the_same_seed_is_the_same_model():
    x, y, _ = rows()
    first, second, other = (quick(steps=20, random_state=seed).fit(x, y).transform(x) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)


def test_fewer_components_and_names_of_segments():
    x, y, _ = rows(dim=3)
    names = np.array([f"segment {label}" for label in y])
    model = quick(n_components=2, steps=20).fit(x, names)
    assert model.transform(x).shape == (len(x), 2)
    assert model.classes_[0] == "segment 0"
    assert np.isfinite(model.score(x[:50], names[:50]))


@pytest.mark.parametrize(
    "wrong", [{"readout": "abs"}, {"head_steps": -1}, {"momentum": 1.0}, {"average": 1.0}, {"layers": 0}]
)
def test_wrong_arguments(wrong):
    x, y, _ = rows(per_segment=5)
    with pytest.raises(ValueError, match="got"):
        quick(**wrong).fit(x, y)
