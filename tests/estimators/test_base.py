"""What the estimators share: conventions of scikit-learn, checks, seeds, selection."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from logprob.estimators import ConditionalFlowICA, ICEBeeM
from logprob.estimators.base import held_out_rows, seeded
from logprob.estimators.training import lowest, minibatches, train_copies

TINY = {"restarts": 2, "steps": 3, "batch_size": 16, "random_state": 0}
NOISE = {"noise_steps": 3, "noise_rows": 200}
ESTIMATORS = {
    "flow": lambda **changes: ConditionalFlowICA(**{**TINY, **changes}),
    "energy": lambda **changes: ICEBeeM(**{**TINY, **NOISE, **changes}),
    "score matching": lambda **changes: ICEBeeM(**{**TINY, "objective": "dsm", **changes}),
}
each = pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS.keys())


def segments(rows=20, columns=3, classes=4, seed=0):
    """Independent sources whose variances change, mixed by a matrix."""
    rng = np.random.RandomState(seed)
    y = np.repeat(np.arange(classes), rows)
    s = rng.randn(len(y), columns) * np.exp(rng.randn(classes, columns))[y]
    return s @ rng.randn(columns, columns), y


@parametrize_with_checks([make() for make in ESTIMATORS.values()])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


@each
def test_surface(make):
    X, y = segments()
    model = make().fit(X, y)
    Z = model.transform(X)
    assert Z.shape == X.shape
    assert Z.dtype == X.dtype
    assert model.held_out_losses_.shape == (2,)
    assert model.selected_ == model.held_out_losses_.argmin()
    assert {"step", "losses", "held_out_losses"} <= model.history_[-1].keys()
    assert model.history_[-1]["held_out_losses"] == pytest.approx(model.held_out_losses_.tolist())
    assert np.isfinite(model.score(X, y))
    assert model.get_feature_names_out()[0].endswith("0")
    np.testing.assert_array_equal(clone(model).fit_transform(X, y), Z)
    assert model.transform(X.astype(np.float32)).dtype == np.float32


@each
def test_labels_may_be_strings(make):
    X, y = segments()
    names = np.array(["d", "b", "c", "a"])[y]
    model = make().fit(X, names)
    assert list(model.classes_) == list("abcd")
    assert np.isfinite(model.score(X, names))


@each
def test_seeds(make):
    X, y = segments()
    first, again, other = (make(random_state=seed).fit(X, y).transform(X) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@each
def test_torchs_own_random_numbers_are_left_alone(make):
    X, y = segments()
    torch.manual_seed(3)
    expected = torch.rand(())
    torch.manual_seed(3)
    make().fit(X, y).score(X, y)
    assert torch.rand(()) == expected


@each
def test_pickles(make):
    X, y = segments()
    model = make().fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.transform(X), model.transform(X))
    assert copy.score(X, y) == model.score(X, y)


@each
def test_a_row_does_not_see_the_others(make):
    X, y = segments()
    model = make().fit(X, y)
    np.testing.assert_allclose(model.transform(X[:1]), model.transform(X)[:1], rtol=1e-5, atol=1e-6)


@each
def test_in_a_pipeline(make):
    X, y = segments()
    assert make_pipeline(StandardScaler(), make()).fit(X, y).transform(X).shape == X.shape


@each
def test_one_column(make):
    X, y = segments(columns=1)
    assert make().fit(X, y).transform(X).shape == (80, 1)


@each
def test_components(make):
    X, y = segments()
    assert make(n_components=2).fit(X, y).transform(X).shape == (80, 2)


@each
def test_refusals(make):
    X, y = segments()
    with pytest.raises(ValueError, match="at least 2 segments"):
        make().fit(X, np.zeros(len(X), int))
    with pytest.raises(ValueError, match="NaN"):
        make().fit(np.where(np.arange(3) == 1, np.nan, X), y)
    with pytest.raises(ValueError, match="linear dependence"):
        make().fit(X[:, [0, 1, 1]], y)
    with pytest.raises(ValueError, match="enough rows"):
        make().fit(X[:3], np.arange(3))
    with pytest.raises(ValueError, match="unseen labels"):
        make().fit(X, y).score(X, y + 1)
    for name, value in {"restarts": 0, "steps": 0, "held_out": 1.0, "learning_rate": 0.0, "n_components": 0}.items():
        with pytest.raises(ValueError, match=name):
            make(**{name: value}).fit(X, y)
    for name in ("restarts", "batch_size", "n_components"):
        with pytest.raises(ValueError, match=f"{name} must be .* an integer, got 2.0"):
            make(**{name: 2.0}).fit(X, y)


def test_held_out_rows_are_a_share_of_each_segment():
    labels = torch.tensor([0] * 100 + [1] * 31 + [2])
    with seeded(0):
        counts = [held_out_rows(labels, 0.1) for _ in range(50)]
    for held in counts:
        assert (held.sum() - 13).abs() <= 1
        assert 9 <= held[:100].sum() <= 11
        assert 2 <= held[100:131].sum() <= 4
        assert not held[131]  # the only one of its segment


def test_copies_train_as_they_would_alone():
    x = torch.randn(40, dtype=torch.float64)
    starts = torch.randn(3, 1, dtype=torch.float64)

    def run(start):
        w = torch.nn.Parameter(start.clone())
        with seeded(0):
            train_copies([w], lambda i: ((x[i] - w) ** 2).mean(-1), 40, steps=25, batch_size=8, learning_rate=0.1)
        return w.detach()

    together = run(starts)
    for index in range(3):
        torch.testing.assert_close(run(starts[index : index + 1]), together[index : index + 1])


def test_minibatches_cover_the_rows():
    batches = minibatches(12, 4)
    epoch = torch.cat([next(batches) for _ in range(3)])
    assert epoch.sort().values.tolist() == list(range(12))


def test_minibatches_of_more_than_there_are_are_all():
    assert len(next(minibatches(3, 8))) == 3


def test_no_finite_restart_is_an_error():
    with pytest.raises(ValueError, match="lower learning_rate"):
        lowest(torch.tensor([float("nan"), float("inf")]))
