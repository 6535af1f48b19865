"""Synthetic2D: the published rows, splits, ceilings and bins."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from logprob.data import Synthetic2D
from logprob.data.planar import LAWS

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "npc2" / "datasets_2d.npz")
STREAMS = ["ring", "mring", "banana", "funnel", "cosine"]  # the published spiral does not honour its seed


def golden(key, name):
    return GOLDEN[f"{key}_{name}"]


@pytest.mark.parametrize("name", STREAMS)
def test_rows_are_the_published_ones(name):
    data = Synthetic2D(name, standardize=False).load()
    np.testing.assert_allclose(data.train.x[:20], golden("train_head", name), rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(data.test.x[:20], golden("test_head", name), rtol=1e-15, atol=1e-15)
    counts = [len(batch.x) for batch in (data.train, data.valid, data.test)]
    assert counts == golden("n_splits", name).tolist()
    if LAWS[name].rotated:
        centre = data.provenance["rotation_center"]
        np.testing.assert_allclose(centre, golden("rotation_center", name), rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", STREAMS)
def test_standardisation_and_ceiling_are_the_published_ones(name):
    data = Synthetic2D(name).load()
    np.testing.assert_allclose(data.transform.loc, golden("train_mean", name), rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(data.transform.scale, golden("train_std", name), rtol=1e-15)
    ceiling = data.true_log_prob(data.test.x)
    assert ceiling.mean().item() == pytest.approx(golden("test_ll_standardised", name).item(), abs=1e-12)
    error = ceiling.std(correction=0).item() / len(ceiling) ** 0.5
    assert error == pytest.approx(golden("test_ll_se", name).item(), rel=1e-9)
    raw = Synthetic2D(name, standardize=False).load()
    ceiling = raw.true_log_prob(raw.test.x).mean().item()
    assert ceiling == pytest.approx(golden("test_ll_raw", name).item(), abs=1e-12)


@pytest.mark.parametrize("name", LAWS)
def test_standardised_density_is_the_raw_one_with_its_volume(name):
    """The change of variables, and ``transform`` leading back to the source's units."""
    raw = Synthetic2D(name, train=200, standardize=False).load()
    data = Synthetic2D(name, train=200).load()
    assert raw.transform is None
    back, ladj = data.transform.call_and_ladj(data.train.x)
    torch.testing.assert_close(back, raw.train.x, rtol=1e-12, atol=1e-12)
    expected = raw.true_log_prob(raw.train.x) + ladj
    torch.testing.assert_close(data.true_log_prob(data.train.x), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(data.train.x.mean(0), torch.zeros(2).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(data.train.x.std(0, correction=0), torch.ones(2).double())


@pytest.mark.parametrize("name", LAWS)
def test_seed_is_honoured(name):
    one, again, other = (Synthetic2D(name, train=20, seed=seed).load() for seed in (1, 1, 2))
    torch.testing.assert_close(one.train.x, again.train.x, rtol=0, atol=0)
    assert one.provenance == again.provenance
    assert one.provenance["content_sha256"] != other.provenance["content_sha256"]


def test_rotated_law_is_turned_counter_clockwise():
    """A long way out on the funnel's wide side, at x0 -> -inf, the rotated rows lie to the lower left."""
    data = Synthetic2D("funnel", standardize=False).load()
    narrow = data.train.x[data.train.x.sum(1) > 6]  # the narrow tail, x0 > 4, now points along (1, 1)
    assert len(narrow) > 50
    assert (narrow[:, 0] - narrow[:, 1]).abs().max() < 1


def test_bins_of_the_training_rows_clip_the_others():
    data = Synthetic2D("banana", train=500, bins=32).load()
    assert data.name == "banana-32-bins"
    assert data.categories == 32
    assert data.transform is None
    assert data.train.x.dtype == torch.int64
    assert data.train.x.min(0).values.tolist() == [0, 0]
    assert data.train.x.max(0).values.tolist() == [31, 31]
    clipped = data.provenance["bins"]["rows_clipped"]
    assert clipped["train"] == 0
    assert clipped["valid"] + clipped["test"] > 0
    raw = Synthetic2D("banana", train=500, standardize=False).load()
    low, high = (np.array(data.provenance["bins"][end]) for end in ("low", "high"))
    centres = low + (data.test.x.numpy() + 0.5) * (high - low) / 32
    inside = ((raw.test.x.numpy() >= low) & (raw.test.x.numpy() <= high)).all(1)
    assert np.all(np.abs(centres - raw.test.x.numpy())[inside] <= (high - low) / 64 + 1e-12)


def test_published_bins_lie_between_the_extremes_of_all_rows():
    data = Synthetic2D("banana", train=500, bins=32, binning="published").load()
    codes = torch.cat([data.train.x, data.valid.x, data.test.x])
    assert codes.min(0).values.tolist() == [0, 0]
    assert codes.max(0).values.tolist() == [31, 31]
    assert set(data.provenance["bins"]["rows_clipped"].values()) == {0}
    assert data.provenance["bins"]["placed_by"] == "all rows, as published"
    other = Synthetic2D("banana", train=500, bins=32).load()
    assert data.provenance["content_sha256"] != other.provenance["content_sha256"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rinks"}, "did you mean 'ring"),
        ({"name": "circle"}, "unknown planar law 'circle'"),
        ({"train": 9}, "at least 10"),
        ({"bins": 1}, "at least 2"),
        ({"binning": "all"}, "unknown binning"),
    ],
)
def test_wrong_arguments_are_refused_when_made(arguments, message):
    with pytest.raises(ValueError, match=message):
        Synthetic2D(**arguments)


def test_data_can_be_sent_to_another_process():
    data = Synthetic2D("cosine", train=20).load()
    copy = pickle.loads(pickle.dumps(data))
    torch.testing.assert_close(copy.true_log_prob(data.test.x), data.true_log_prob(data.test.x))
