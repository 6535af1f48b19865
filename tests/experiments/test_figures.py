"""Figures: one of each kind is drawn, from what it should show, and is not blank."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from logprob.experiments import RecipeError, figures, run
from logprob.experiments.figures.images import Pixels, pixels_of, reconstruction_grid, tiled
from logprob.experiments.figures.weights import Pair, filter_figure, inverse_pairs


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
    pixels = pixels_of(x, (1, 2, 2), 40)
    figure = figures.image_sheet(lambda rows: rows[:, 0].double(), x, pixels)
    titles = [float(axis.get_title()) for axis in figure.axes]
    assert titles == sorted(titles)
    assert titles[0] == 0
    assert titles[-1] == 39


def test_one_epoch_is_seen() -> None:
    record = {"phase": 0, "valid/log_likelihood": -1.0, "learning_rate": 0.1}
    for axis in figures.learning_curves([record], "log_likelihood").axes:
        assert [line.get_marker() for line in axis.lines] == ["."]


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


@pytest.fixture
def pixels(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe of four-by-four images."""
    recipe["data"] = {"class_path": "TinyCodes", "init_args": {"image": True, "categories": 4}}
    recipe["model"] = "TinyPixels"
    recipe["metrics"] = ["PixelMetric"]
    recipe["phases"][0]["objective"] = "PixelObjective"
    return recipe


@pytest.mark.parametrize(
    ("bound", "drawn"),
    [("exact", {"images.png", "samples-exact.png"}), ("bound", {"images.png"}), ("none", {"images.png"})],
)
def test_images_without_an_exact_log_prob(pixels: dict[str, Any], tmp_path: Path, bound: str, drawn: set[str]) -> None:
    said: list[str] = []
    done = run(pixels, {"model.bound": bound}, out=tmp_path, imports=["tiny"], say=said.append)
    assert {path.name for path in (done.folder / "figures").iterdir()} == {"learning_curves.png"} | drawn
    assert len(said) == 1  # no warning
    assert ("sample_seconds" in done.summary["timing"]) == (bound == "exact")


@pytest.fixture
def flow(pixels: dict[str, Any]) -> dict[str, Any]:
    """A recipe of a flow of such images."""
    pixels["model"] = {"class_path": "image_flow", "init_args": {"dense": True}}
    pixels["metrics"] = ["FlowBound"]
    pixels["phases"][0] |= {"objective": "SelfNormalizingLikelihood", "epochs": 4}
    pixels["imports"] = ["tiny", "tiny_flows"]
    return pixels


SHEETS = {"filters.png", "reconstructions.png", "samples-approximate.png", "samples-exact.png"}


def test_a_flow_shows_samples_reconstructions_and_filters(flow: dict[str, Any], tmp_path: Path) -> None:
    said: list[str] = []
    flow["figures"] = {"every": 2, "samples": 12, "reconstructions": 5}
    done = run(flow, out=tmp_path, imports=flow["imports"], say=said.append)
    files = {path.relative_to(done.folder / "figures").as_posix() for path in (done.folder / "figures").rglob("*.png")}
    during = {f"epoch-{epoch}/{name}" for epoch in ("0002", "0004") for name in SHEETS}
    assert files == SHEETS | during | {"images.png", "learning_curves.png"}
    assert len(said) == 1
    assert set(done.summary["timing"]["sample_seconds"]) == {"exact", "approximate"}


def test_pictures_change_no_result(flow: dict[str, Any], tmp_path: Path) -> None:
    lines = []
    for every in (0, 2):
        flow["figures"] = {"every": every, "samples": 3, "reconstructions": 0, "filters": False}
        done = run(flow, out=tmp_path, imports=flow["imports"])
        records = [json.loads(line) for line in (done.folder / "metrics.jsonl").read_text().splitlines()]
        lines.append([{key: value for key, value in record.items() if key != "seconds"} for record in records])
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("chosen", "drawn"),
    [
        ({"inverse": "exact", "filters": False}, {"samples-exact.png", "reconstructions.png", "images.png"}),
        ({"samples": 0, "filters": False, "reconstructions": 0}, {"images.png"}),
    ],
)
def test_pictures_are_chosen(flow: dict[str, Any], tmp_path: Path, chosen: dict[str, Any], drawn: set[str]) -> None:
    flow["figures"] = chosen
    done = run(flow, out=tmp_path, imports=flow["imports"])
    assert {path.name for path in (done.folder / "figures").iterdir()} == {"learning_curves.png"} | drawn


def test_no_pictures(flow: dict[str, Any], tmp_path: Path) -> None:
    done = run(flow, {"figures": None}, out=tmp_path, imports=flow["imports"])
    assert not list((done.folder / "figures").iterdir())
    with pytest.raises(RecipeError, match="figures: Figures: samples must not be negative"):
        run(flow, {"figures": {"samples": -1}}, out=tmp_path, imports=flow["imports"])


def test_a_flow_on_the_plane_has_a_density(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe |= {"model": "dense_flow", "imports": ["tiny", "tiny_flows"]}
    done = run(recipe, out=tmp_path, imports=recipe["imports"])
    assert (done.folder / "figures" / "density.png").exists()
    assert (done.folder / "figures" / "filters.png").exists()


def test_tiles_lie_in_rows_of_ten() -> None:
    images = np.arange(11)[:, None, None] * np.ones((11, 3, 2)) / 10
    sheet = tiled(images)
    assert sheet.shape == (2 * 4, 10 * 3)
    assert (sheet[:3, 27:29] == 0.9).all()
    assert (sheet[4:7, :2] == 1.0).all()


def test_pixels_are_scaled_and_clipped() -> None:
    pixels = Pixels((3, 1, 1), -1.0, 1.0)
    assert np.allclose(pixels.images(torch.tensor([[0.0, 5.0, math.nan]])), [[[[0.5, 1.0, 0.0]]]])
    assert pixels_of(torch.tensor([[0.0, -3.0], [math.inf, 9.0], [2.0, 1.0]]), (1, 1, 2), None)[1:] == (-3.0, 2.0)


def test_small_differences_are_shown_brighter() -> None:
    x = torch.rand(3, 16)
    figure = reconstruction_grid(x, x + 0.004, Pixels((1, 4, 4), 0.0, 1.0))
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()][2].endswith("10^{2}$")
    assert np.allclose(axis.images[0].get_array()[10:14, 0:4], 0.4, atol=1e-4)


def test_a_layer_and_its_inverse_side_by_side() -> None:
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    module["b"].inverse_weight = torch.linalg.inv(module["b"].weight.detach())
    (pair,) = inverse_pairs(module)
    assert pair.name == "b"
    product = filter_figure([pair]).axes[2].images[0].get_array()
    assert np.allclose(product, np.eye(3), atol=1e-5)
    assert filter_figure([pair]).get_suptitle() == ""


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ([12] * 6, ""),
        ([4] * 9, "6 of 9 layers"),
        ([16], "first 12 of 16 channels"),
        ([16, 2, 48] * 3, "6 of 9 layers, first 12 of 16 or 48 channels"),
    ],
)
def test_what_is_left_out_of_the_filters_is_said(channels: list[int], said: str) -> None:
    pairs = [Pair(f"layer {n}", *torch.randn(2, count, count, 3, 3)) for n, count in enumerate(channels)]
    assert filter_figure(pairs).get_suptitle() == said


def test_halves_of_images_are_completed() -> None:
    """Ten columns and seven lines of 28 x 28 images; nothing for a model that predicts nothing."""
    from logprob.batch import Batch
    from logprob.experiments.figures.completions import completion_drawings
    from logprob.simplex.binary_units import ConcreteUnits
    from logprob.simplex.stochastic_layers import StochasticNetwork

    rows = Batch(torch.zeros(12, 392), torch.ones(12, 392))
    pixels = Pixels((1, 14, 28), 0.0, 1.0)
    model = StochasticNetwork(392, ConcreteUnits, width=5).eval()
    ((name, draw),) = completion_drawings(model, rows, pixels)
    assert name == "completions.png"
    (image,) = draw().axes[0].images
    sheet = np.asarray(image.get_array())
    assert sheet.shape == (7 * 29, 10 * 29)
    original, given = sheet[:28, :28], sheet[29:57, :28]
    assert (original[:14] == 1).all()
    assert (original[14:] == 0).all()
    assert (given[:14] == 1).all()
    assert (given[14:] == 0.5).all()  # grey: not given
    assert list(completion_drawings(model, Batch(torch.zeros(12, 392)), pixels)) == []
    assert list(completion_drawings(lambda context: None, rows, pixels)) == []
