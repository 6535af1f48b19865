"""Figures of relaxed laws show what they are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from logprob.experiments.figures import laws
from logprob.simplex import discrete_laws
from logprob.simplex.approximate import Matched, approximate
from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.matching import Matching
from logprob.simplex.proximity import proximity


@pytest.fixture(scope="module")
def certificates():
    torch.manual_seed(0)
    target = discrete_laws.discrete10()
    matched = Matched(matching=Matching(steps=30, samples=200))
    return {"exact": approximate(target)[1], "sticks": approximate(target, matched, samples=1000)[1]}


@pytest.fixture(scope="module")
def near():
    return proximity(lambda t: InvertibleGaussian.uniform(5, temperature=t), torch.linspace(0.1, 1, 30).tolist(), 300)


def test_histograms_show_target_start_and_end(certificates):
    figure = laws.law_histograms(certificates)
    start, end = figure.axes[:2]
    assert "TV" in end.get_title()
    assert "analytic" in end.get_title()
    heights = [bar.get_height() for bar in end.patches if hasattr(bar, "get_height")][:10]
    assert heights == pytest.approx(certificates["exact"].target.tolist())
    assert end.patches[-1].get_data().values == pytest.approx(certificates["exact"].probs.numpy())
    assert start.patches[-1].get_data().values == pytest.approx(np.full(10, 0.1))
    assert "1000 draws" in figure.axes[3].get_title()


def test_losses_with_their_rolling_mean(certificates):
    losses, mean = laws.fitting_losses(certificates).axes[0].lines
    assert len(losses.get_ydata()) == 30
    assert mean.get_xdata()[0] == 9
    assert mean.get_ydata()[-1] == pytest.approx(np.mean(losses.get_ydata()[-10:]))
    with pytest.raises(ValueError, match="got none with losses"):
        laws.fitting_losses({"exact": certificates["exact"]})


def test_boxes_and_curves_by_temperature(near):
    boxes = laws.proximity_boxes({"gaussian": near}).axes[0]
    assert [label.get_text() for label in boxes.get_xticklabels()][::19] == ["0.1", "1"]
    assert len(boxes.get_xticklabels()) == 20
    curves = laws.proximity_curves({"gaussian": near}).axes
    assert curves[0].lines[0].get_ydata() == pytest.approx(near.median.numpy())
    assert len(curves) == 4
    assert len(laws.posterior_boxes({"a": near.distances[0], "b": near.distances[9]}).axes[0].get_xticklabels()) == 2


def test_kernel_ridge_is_that_of_scikit_learn():
    ridge = pytest.importorskip("sklearn.kernel_ridge")
    x = np.linspace(0, 1, 40)
    y = np.sin(4 * x)
    model = ridge.KernelRidge(alpha=1.0, kernel="rbf", gamma=10.0).fit(x[:, None], y)
    assert laws.kernel_ridge(x, y) == pytest.approx(model.predict(x[:, None]))
