from __future__ import annotations

import numpy as np
import pytest
import torch

from logprob.data import ica
from logprob.estimators import IVAE
from logprob.estimators.plateau import ReduceOnPlateau
from logprob.metrics import mcc


def rows(per_segment=100):
    data = ica.tcl(n_segments=10, n_per_segment=per_segment, layers=2, dim=2, seed=1)
    return np.asarray(data.x), np.asarray(data.y), np.asarray(data.sources)


def quick(**changes):
    return IVAE(**{"restarts": 2, "steps": 30, "random_state": 0, **changes})


def test_training_raises_the_held_out_bound():
    x, y, s = rows()
    model = quick(steps=700, learning_rate=5e-3).fit(x, y)
    assert model.selected_ == model.held_out_losses_.argmin()
    first, last = (model.history_[number]["held_out_losses"] for number in (0, -1))
    assert all(np.array(last) < np.array(first))
    features = model.transform(x, y)
    assert features.shape == s.shape
    assert model.scored_ == "ivae.mean"
    assert mcc(s, features).score > 0.5  # shuffled: below 0.1
    # rows whose segment is not told are read almost alike: with ten segments x says little about y
    assert mcc(features, model.transform(x)).score > 0.9


def test_score_is_the_bound_and_repeats_itself():
    x, y, _ = rows()
    model = quick().fit(x, y)
    value = model.score(x, y)
    assert value == model.score(x, y)
    labels, points = torch.from_numpy(y).long(), torch.from_numpy(x).float().double()
    torch.manual_seed(0)
    with torch.no_grad():
        many = torch.stack([model.model_.elbo(points, labels).mean() for _ in range(100)])
    assert abs(value - many.mean().item()) < 6 * many.std().item()  # eight draws against a hundred


def test_the_segment_matters_and_must_be_known():
    x, y, _ = rows()
    model = quick().fit(x, y)
    assert not np.allclose(model.transform(x, y), model.transform(x, (y + 1) % 10))
    with pytest.raises(ValueError, match="previously unseen"):
        model.transform(x, np.full(len(x), 99))


def test_options_make_other_models():
    x, y, _ = rows()
    plain = quick().fit(x, y).transform(x, y)
    changes = [{"whiten": True}, {"annealed": True}, {"decay": "constant"}, {"likelihood": "laplace"}, {"hidden": (8,)}]
    for change in changes:
        features = quick(**change).fit(x, y).transform(x, y)
        assert features.shape == plain.shape
        assert not np.allclose(features, plain), change
    assert quick(n_components=1).fit(x, y).transform(x).shape == (len(x), 1)
    assert quick(readout="ica").fit(x, y).scored_ == "FastICA(ivae.mean)"
    bits = (x > 0).astype(float)
    assert np.isfinite(quick(likelihood="bernoulli").fit(bits, y).transform(bits, y)).all()


def test_the_rate_falls_when_the_loss_does_not():
    """Against torch's own scheduler, fed with the means of the epochs."""
    plateau, weight = ReduceOnPlateau(4, patience=1), torch.nn.Parameter(torch.zeros(1))
    optimizer = plateau.adam([weight], 1.0)
    other = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(other, factor=0.1, patience=1)
    values = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    each = iter(values)
    losses = plateau.watch(lambda index: next(each))
    for step in range(1, 41):
        losses(torch.arange(1))
        plateau.after_step(step)
        if step % 4 == 0:
            scheduler.step(values[step - 4 : step].mean().item())
            assert optimizer.param_groups[0]["lr"] == other.param_groups[0]["lr"]
    assert optimizer.param_groups[0]["lr"] < 1


def test_the_published_schedule():
    assert (IVAE.published().steps, IVAE.published().decay, IVAE.published(steps=3).steps) == (70_000, "plateau", 3)
    x, y, _ = rows(20)
    assert IVAE.published(steps=40, random_state=0).fit(x, y).transform(x, y).shape == x.shape


@pytest.mark.parametrize(
    "wrong", [{"readout": "abs"}, {"decay": "linear"}, {"decoder_variance": 0.0}, {"likelihood": "?"}]
)
def test_wrong_arguments(wrong):
    x, y, _ = rows(5)
    with pytest.raises(ValueError, match="got"):
        quick(**wrong).fit(x, y)


@pytest.mark.filterwarnings("ignore:FastICA did not converge")
def test_candidates_are_what_the_truth_chose_from():
    x, y, s = rows()
    model = quick().fit(x, y)
    found = model.candidates(x, y)
    assert list(found) == ["sample", "mean", "ica"]
    np.testing.assert_allclose(found["mean"], model.transform(x, y), atol=1e-5)
    assert all(np.array_equal(found[name], features) for name, features in model.candidates(x, y).items())
    labels, points = torch.from_numpy(y).long(), torch.from_numpy(x).float().double()
    law = model.model_.encode(points, labels)
    noise = (torch.from_numpy(found["sample"]) - law[0]) / (law[1] / 2).exp()  # of the posterior's own scale
    assert noise.mean().abs() < 0.1
    assert abs(noise.std().item() - 1) < 0.1
    np.testing.assert_allclose(np.cov(found["ica"].T, bias=True), np.eye(s.shape[1]), atol=1e-4)
    with pytest.raises(ValueError, match="previously unseen"):
        model.candidates(x, np.full(len(x), 99))
