"""The published protocol: its energies, its steps, its stages and what they are read from."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_icebeem import load
from sklearn.base import clone

from logprob.estimators import PublishedICEBeeM, PublishedSchedule
from logprob.estimators.published_fce import contrast, contrast_loss, train_published
from logprob.estimators.published_pair import published_pair

SHORT = PublishedSchedule(label_epochs=2, energy_epochs=2, rounds=2, fooling_epochs=1, round_epochs=1, batch_size=32)
SMALL = {"blocks": 2, "bins": 4, "hidden": 8, "schedule": SHORT, "random_state": 3}


def rows(number=120, columns=3, segments=4):
    stream = np.random.RandomState(0)
    y = np.arange(number) % segments
    return stream.randn(number, columns) * (1.0 + y[:, None]), y


def golden_pair(golden):
    pair = published_pair(5, golden["W"].shape[1], 5).double().eval()
    network = pair.energy.network
    state = {"0": "first", "2": "hid0", "5": "hid1", "7": "last"}
    named = {
        f"{place}.{part}": golden[f"{name}_{part[0]}"] for place, name in state.items() for part in ("weight", "bias")
    }
    for place, name in {"1": "hid0_bn", "4": "hid1_bn"}.items():
        short = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "var"}
        named |= {f"{place}.{part}": golden[f"{name}_{ending}"] for part, ending in short.items()}
    network.load_state_dict(named)
    with torch.no_grad():
        pair.energy.labels.copy_(golden["W"].T)
    return pair


def test_energies_are_the_published_ones():
    golden = load("energy")
    pair = golden_pair(golden)
    f = pair.features(golden["x"])
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(pair.log_potentials(f, golden["y"], squares=False), golden["u_plain"], **close)
    u = pair.log_potentials(f, golden["y"])
    torch.testing.assert_close(u, golden["u_tied"], **close)
    alike = torch.full_like(golden["y"], golden["W"].shape[1])
    torch.testing.assert_close(pair.log_potentials(f, alike), golden["u_tied_uniform_label"], **close)
    loss = F.binary_cross_entropy_with_logits(u - golden["log_q"], golden["is_data"].double())
    torch.testing.assert_close(loss, golden["nce_loss"].reshape(()), **close)


def test_two_logits_are_one():
    """The published loss had two outputs, l and -l, behind sigmoids; it is the cross entropy of one."""
    logits, is_data = torch.randn(50).double(), (torch.rand(50) < 0.5).double()
    both, target = torch.stack([logits, -logits], 1), torch.stack([is_data, 1 - is_data], 1)
    published = F.binary_cross_entropy(both.sigmoid(), target)
    torch.testing.assert_close(F.binary_cross_entropy_with_logits(logits, is_data), published)


def test_a_frozen_log_density_gives_the_gradient_that_passing_the_flow_would():
    x, y = (torch.from_numpy(part) for part in rows())
    pair = published_pair(3, 4, 3, blocks=2, hidden=8).double()
    pair.flow.initialize(x)
    batch = contrast(pair, x, y, alike=True)
    assert batch.x.shape == (240, 3)
    assert (batch.labels[120:] == 4).all()
    assert torch.equal(contrast(pair, x, y, alike=False).labels, torch.cat([y, y]))
    quick = torch.autograd.grad(contrast_loss(pair, batch), list(pair.energy.parameters()))
    slow = torch.autograd.grad(
        contrast_loss(pair, batch._replace(log_noise=pair.log_noise(batch.x))), list(pair.energy.parameters())
    )
    for got, expected in zip(quick, slow, strict=True):
        torch.testing.assert_close(got, expected)


def test_phases_train_what_they_should_and_stop_when_they_should():
    x, y = torch.from_numpy(rows()[0]).float(), torch.from_numpy(rows()[1])
    plan = PublishedSchedule(label_epochs=3, energy_epochs=0, rounds=0, energy_accuracy=2.0, batch_size=32)
    pair = published_pair(3, 4, 3, blocks=2, hidden=8)
    network = {name: value.clone() for name, value in pair.energy.network.named_parameters()}
    (stage,) = train_published(pair, x, y, plan)
    assert [record["phase"] for record in stage.history] == ["likelihood", "labels", "labels", "labels"]
    assert all(torch.equal(value, network[name]) for name, value in pair.energy.network.named_parameters())
    assert not torch.equal(pair.energy.labels, torch.ones(4, 3))
    easy = PublishedSchedule(label_epochs=9, energy_epochs=9, rounds=1, fooling_epochs=9, round_epochs=9,
                             energy_accuracy=-1, fooled_accuracy=2.0, round_accuracy=-1)  # fmt: skip
    stages = train_published(published_pair(3, 4, 3, blocks=2, hidden=8), x, y, easy)
    phases = [(r["stage"], r["phase"], r["epoch"]) for stage in stages for r in stage.history]
    start = [("start", name, 1) for name in ("likelihood", "labels", "energy")]
    assert phases == [*start, ("round 1", "flow", 1), ("round 1", "energy", 1)]


def test_stages_and_both_read_outs():
    X, y = rows()
    estimator = PublishedICEBeeM(readout="raw", **SMALL).fit(X, y)
    assert [stage.name for stage in estimator.stages_] == ["start", "round 1", "round 2"]
    assert estimator.scored_ == "flow.latent"
    x = torch.from_numpy(X)
    last = estimator.stages_[-1]
    np.testing.assert_array_equal(estimator.transform(X), last.latents(x).numpy())
    np.testing.assert_array_equal(estimator.noise_features(X), estimator.transform(X))
    np.testing.assert_array_equal(estimator.energy_features(X), last.features(x).numpy())
    candidates = estimator.candidates(X)
    assert list(candidates) == ["start", "round 1", "round 2"]
    assert not np.array_equal(candidates["start"], candidates["round 2"])
    first = PublishedICEBeeM(readout="raw", stage=0, scored="energy.f", **SMALL).fit(X, y)
    assert first.scored_ == "energy.f"
    np.testing.assert_array_equal(first.transform(X), estimator.stages_[0].features(x).numpy())


def test_features_see_their_batch_mates_only_where_that_is_asked_for():
    X, y = rows()
    stage = PublishedICEBeeM(**SMALL).fit(X, y).stages_[-1]
    x = torch.from_numpy(X).float()
    torch.testing.assert_close(stage.features(x)[:10], stage.features(x[:10]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(stage.features(x.double()).float(), stage.features(x), rtol=1e-4, atol=1e-5)
    before = {name: value.clone() for name, value in stage.state.items()}
    assert not torch.allclose(stage.features(x, True)[:10], stage.features(x[:10], True))
    assert all(torch.equal(value, before[name]) for name, value in stage.state.items())


def test_the_same_seed_the_same_numbers_and_states_travel():
    X, y = rows()
    estimator = PublishedICEBeeM(**SMALL).fit(X, y)
    again = clone(estimator).fit(X, y.astype(str))
    np.testing.assert_array_equal(estimator.transform(X), again.transform(X))
    assert estimator.score(X, y) == again.score(X, y.astype(str)) == estimator.score(X, y)
    other = clone(estimator).set_params(random_state=4).fit(X, y)
    assert not np.allclose(estimator.transform(X), other.transform(X))
    copied = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(copied.transform(X), estimator.transform(X))
    x = torch.from_numpy(X).float()
    pair = published_pair(3, 4, 3, blocks=2, bins=4, hidden=8).eval()
    pair.load_state_dict(estimator.stages_[1].state)
    assert torch.equal(pair.log_noise(x), estimator.stages_[1].model.log_noise(x))
    assert torch.equal(pair.features(x), estimator.stages_[1].model.features(x))


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"scored": "flow"}, "scored must be one of flow.latent, energy.f"),
        ({"blocks": 0}, "blocks must be at least 1"),
        ({"stage": 3}, "one of the 3 that the schedule has"),
        ({"readout": "best"}, "readout must be one of"),
        ({"n_components": 0}, "n_components must be at least 1"),
    ],
)
def test_errors(wrong, match):
    with pytest.raises(ValueError, match=match):
        PublishedICEBeeM(**{**SMALL, **wrong}).fit(*rows())


def test_other_errors():
    with pytest.raises(ValueError, match="at least 2 columns"):
        PublishedICEBeeM(**SMALL).fit(rows()[0][:, :1], rows()[1])
    with pytest.raises(ValueError, match="batch_size >= 2"):
        PublishedSchedule(batch_size=1)
