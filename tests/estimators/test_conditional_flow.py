"""Nonlinear ICA by conditional likelihood."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from logprob.data import ica
from logprob.estimators import ConditionalFlowICA
from logprob.metrics import mcc


def fitted(n_per_segment=200, **changes):
    data = ica.tcl(n_segments=10, n_per_segment=n_per_segment, layers=2, dim=3, seed=1)
    settings = {"restarts": 2, "steps": 800, "batch_size": 256, "random_state": 0, **changes}
    return data, ConditionalFlowICA(**settings).fit(data.x, data.y)


def test_it_undoes_one_kink():
    data, model = fitted()
    score = mcc(data.sources, model.transform(data.x)).score
    raw = mcc(data.sources, data.x).score
    assert score > 0.95 > raw
    assert model.scored_ == "flow.latent"


def test_density_is_in_the_units_of_the_rows():
    """Seven times the rows have the density over 7^3, as whitening undoes the factor."""
    data, model = fitted(steps=50)
    scaled = ConditionalFlowICA(**model.get_params()).fit(7 * data.x, data.y)
    np.testing.assert_allclose(
        scaled.log_prob(7 * data.x, data.y), model.log_prob(data.x, data.y) - 3 * np.log(7), atol=1e-3
    )


def test_score_is_the_mean_log_likelihood_of_white_rows():
    data, model = fitted(steps=50)
    expected = model.log_prob(data.x, data.y).mean() - model.whitening_.log_abs_det
    assert model.score(data.x, data.y) == pytest.approx(expected, abs=1e-5)


def test_likelihood_is_below_that_of_the_truth():
    data, model = fitted()
    assert model.log_prob(data.x, data.y).mean() < data.log_prob(data.x, data.y).mean() + 0.05


def test_the_full_base_and_no_biases():
    data, model = fitted(steps=20, base="full", bias=False)
    assert model.model_.shared is not None
    assert torch.equal(model.model_.mapping.bias, torch.zeros(2, 3))
    assert np.isfinite(model.score(data.x, data.y))


def test_dropped_components_leave_no_density():
    data, model = fitted(steps=5, n_components=2)
    assert model.transform(data.x).shape == (2000, 2)
    with pytest.raises(ValueError, match="all 3 components"):
        model.log_prob(data.x, data.y)


def test_blur_is_gone_at_the_end_and_not_negative():
    data, model = fitted(steps=30, blur=0.3)
    assert np.isfinite(model.score(data.x, data.y))
    with pytest.raises(ValueError, match="blur"):
        fitted(blur=-1.0)
