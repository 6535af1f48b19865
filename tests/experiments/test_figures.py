"""Figures: one of each kind is drawn, from what it should show, and is not blank."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from logprob.experiments import figures, run


def log_normal(x: Tensor) -> Tensor:
    return -(x.double() ** 2).sum(-1) / 2 - math.log(2 * math.pi)


def test_density_panels_agree_about_a_known_density() -> None:
    x = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    x[0] = torch.nan
    figure = figures.density_panels(log_normal, x, log_normal)
    data, learned, true = (axis.images[0] for axis in figure.axes[:3])
    assert [axis.get_title() for axis in figure.axes[:3]] == ["data", "learned density", "true density"]
    assert {image.get_clim() for image in (data, learned, true)} == {learned.get_clim()}
    assert np.abs(data.get_array() - true.get_array()).max() < 0.06
    assert np.array_equal(learned.get_array(), true.get_array())


def test_the_first_variable_runs_to_the_right() -> None:
    x = torch.tensor([[0.0, 0.0], [10.0, 1.0], [9.0, 0.1], [9.5, 0.0]])
    figure = figures.density_panels(lambda grid: grid[:, 0], x, None)
    learned = figure.axes[1].images[0].get_array()
    assert (np.diff(learned, axis=1) > 0).all()
    assert figure.axes[0].images[0].get_array()[:20, -40:].sum() > 0
    pmf = figures.pmf_panels(lambda pairs: pairs[:, 0].double(), torch.tensor([[2, 0], [2, 0], [0, 1]]), 3)
    counts, learned = (axis.images[0].get_array() for axis in pmf.axes[:2])
    assert counts[0, 2] == pytest.approx(2 / 3)
    assert (np.diff(learned, axis=1) > 0).all()


def test_the_sheet_is_sorted() -> None:
    x = torch.arange(40).repeat(4, 1).T
    figure = figures.image_sheet(lambda rows: rows[:, 0].double(), x, (1, 2, 2))
    titles = [float(axis.get_title()) for axis in figure.axes]
    assert titles == sorted(titles)
    assert titles[0] == 0
    assert titles[-1] == 39


def test_learning_curves_bear_infinity() -> None:
    record = {"phase": 0, "train/log_likelihood": -1.0, "valid/log_likelihood": "-inf", "learning_rate": 0.1}
    records = [record, record | {"phase": 1, "valid/log_likelihood": -2.0}]
    figure = figures.learning_curves(records, "log_likelihood")
    assert len(figure.axes[0].lines) == 3  # train, valid, the border of the phases
    assert figures.learning_curves(records * 20, "log_likelihood").axes[0].get_ylim()[0] < -2.0


@pytest.mark.parametrize(
    ("name", "overrides", "drawn"),
    [
        ("npc2/ring", {"data.train": 100}, "density.png"),
        ("npc2/ring", {"data.train": 100, "data.bins": 8, "model.inputs": "Categorical"}, "pmf.png"),
        ("npc2/digits", {}, "images.png"),
    ],
)
def test_each_kind_of_data_has_its_figure(tmp_path: Path, name: str, overrides: dict[str, object], drawn: str) -> None:
    done = run(name, overrides | {"model.units": 2, "epochs": 1}, out=tmp_path)
    from matplotlib.image import imread

    for file in (drawn, "learning_curves.png"):
        assert imread(done.folder / "figures" / file)[..., :3].std() > 0.01
