from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import FastICA as LinearICA
from sklearn.utils.estimator_checks import parametrize_with_checks

from logprob.data import ica
from logprob.estimators import (
    IVAE,
    TCL,
    ConditionalFlowICA,
    FastICA,
    ICEBeeM,
    PublishedICEBeeM,
    RandomFeatures,
    RawFeatures,
    shuffled_labels,
    untrained,
)
from logprob.metrics import mcc

QUICK_TCL = TCL(restarts=2, head_steps=3, steps=10)


@parametrize_with_checks(
    [
        QUICK_TCL,
        IVAE(restarts=2, steps=10),
        FastICA(),
        RawFeatures(),
        RandomFeatures(),
        shuffled_labels(RandomFeatures()),
        untrained(QUICK_TCL),
    ]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # features of a few steps
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def rows():
    data = ica.tcl(n_segments=10, n_per_segment=100, layers=2, dim=3, seed=1)
    return np.asarray(data.x), np.asarray(data.y), np.asarray(data.sources)


def test_fast_ica_is_scikit_learns():
    x, y, _ = rows()
    expected = LinearICA(whiten="unit-variance", random_state=0).fit_transform(x)
    np.testing.assert_allclose(FastICA(random_state=0).fit(x, y).transform(x), expected)


def test_its_score_is_a_log_likelihood():
    x, y, _ = rows()
    model = FastICA(random_state=0).fit(x)
    # scipy's law of density sech(x) / pi, scaled to variance one
    laws = stats.hypsecant.logpdf(model.transform(x), scale=2 / np.pi).sum(1)
    log_det = np.linalg.slogdet(model.ica_.components_)[1]
    assert model.score(x, y) == pytest.approx(laws.mean() + log_det, abs=1e-10)


def test_raw_features_are_a_copy():
    x, _, _ = rows()
    features = RawFeatures().fit_transform(x)
    np.testing.assert_array_equal(features, x)
    assert not np.shares_memory(features, x)


def test_random_features_know_the_seed_and_no_labels():
    x, y, _ = rows()
    first, second, other = (RandomFeatures(4, random_state=seed).fit(x, y).transform(x) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (len(x), 4)
    assert not np.allclose(first, other)
    assert RandomFeatures(random_state=0).fit(x, y).score(x, y) == 0


def test_untrained_is_the_estimator_before_its_first_step():
    x, y, _ = rows()
    start = TCL(restarts=2, head_steps=0, steps=1, learning_rate=1e-20, readout="raw", random_state=0)
    control = untrained(start).fit(x, y)
    np.testing.assert_allclose(control.transform(x), start.fit(x, y).transform(x), atol=1e-6)
    assert control.history_ == []
    assert control.scored_ == "tcl.features, untrained"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(control)).transform(x), control.transform(x))
    with pytest.raises(TypeError, match="got FastICA"):
        untrained(FastICA()).fit(x, y)


@pytest.mark.parametrize(
    "estimator",
    [
        ConditionalFlowICA(),
        ICEBeeM(noise_rows=200),
        ICEBeeM(noise_rows=200, tilted=False),
        ICEBeeM(objective="dsm"),
        IVAE(),
        TCL(readout="raw"),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_all_that_train_can_be_left_untrained(estimator):
    x, y, _ = rows()
    control = untrained(estimator.set_params(random_state=0)).fit(x, y)
    assert np.isfinite(control.score(x, y))
    assert np.isfinite(control.transform(x)).all()


def test_what_trains_in_a_fit_of_its_own_is_no_untrained_control():
    x, y, _ = rows()
    with pytest.raises(TypeError, match="PublishedICEBeeM is part of its fit"):
        untrained(PublishedICEBeeM()).fit(x, y)


def test_fast_ica_refuses_columns_that_depend_on_one_another():
    x, y, _ = rows()
    with pytest.raises(ValueError, match="rank 3 for 4 components"):
        FastICA().fit(np.c_[x, np.ones(len(x))], y)
    assert FastICA(3, random_state=0).fit(np.c_[x, x[:, 0]], y).transform(np.c_[x, x[:, 0]]).shape == x.shape


def test_shuffled_labels_hide_the_segments():
    x, y, s = rows()
    estimator = TCL(layers=2, restarts=2, head_steps=50, steps=500, random_state=0)
    control = shuffled_labels(estimator, random_state=0).fit(x, y)
    assert control.scored_ == "FastICA(tcl.features), labels shuffled"
    assert not hasattr(estimator, "model_")
    trained = estimator.fit(x, y)
    assert trained.score(x, y) > control.score(x, y) + 0.1  # nats
    assert mcc(s, trained.transform(x), target="abs").score > mcc(s, control.transform(x), target="abs").score


def test_labels_reach_an_estimator_that_takes_them():
    x, y, _ = rows()
    control = shuffled_labels(IVAE(restarts=1, steps=5, random_state=0), random_state=0).fit(x, y)
    np.testing.assert_array_equal(control.transform(x, y), control.estimator_.transform(x, y))
    assert control.classes_.tolist() == list(range(10))
