"""Metrics of paths, edges and chosen words, on answers worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from logprob.batch import Batch
from logprob.metrics import EdgeScores, PathQuality, PredictionError, SubsetPrecision
from logprob.metrics.paths import joins_corners


def law(mode):
    return SimpleNamespace(mode=mode)


BEST = torch.eye(3).flatten()
PATHS = torch.stack(
    [
        BEST,
        torch.tensor([1.0, 0, 0, 1, 0, 0, 0, 1, 1]),  # a way around
        torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0, 1]),  # no way
        torch.tensor([1.0, 0, 1, 0, 1, 0, 0, 0, 1]),  # a cell too many
    ]
)
COSTS = torch.tensor([[1.0, 5, 2e-5, 1, 1, 9, 9, 1.0005, 1]]).repeat(4, 1)
PICTURES = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 6, 6)


def test_path_quality():
    rows = Batch(BEST.repeat(4, 1), PICTURES, COSTS)
    for shape in ((-1, 9), (-1, 3, 3)):
        model = lambda pictures, shape=shape: law(PATHS[pictures[:, 0, 0, 0].long()].reshape(shape))  # noqa: E731
        found = PathQuality(batch_size=3)(model, rows)
        assert found["hamming_loss"] == (0 + 3 + 1 + 1) / 4
        assert found["cell_accuracy"] == pytest.approx(1 - 5 / 36)
        assert (found["perfect_match"], found["valid_path"]) == (0.25, 0.75)
        ratios = [1, 4.0005 / 3, (3 + 2e-5) / 3]
        assert found["cost_ratio"] == pytest.approx(sum(ratios) / 3, rel=1e-6)
        within = {name: value for name, value in found.items() if name.startswith("within")}
        assert within == {
            **dict.fromkeys(["within_10pct", "within_1pct", "within_0.1pct", "within_0.01pct", "within_0.001pct"], 0.5),
            "within_0.0001pct": 0.25,
        }
    nowhere = PathQuality()(lambda pictures: law(torch.zeros(len(pictures), 9)), rows)
    assert math.isnan(nowhere["cost_ratio"])
    assert nowhere["valid_path"] == nowhere["within_10pct"] == 0
    unknown = PathQuality()(lambda pictures: law(torch.full((len(pictures), 9), torch.nan)), rows)
    assert math.isnan(unknown["hamming_loss"])
    assert unknown["valid_path"] == 0


def test_long_ways_join_corners():
    """A way that winds through the whole grid, and the same with one cell closed."""
    cells = torch.ones(9, 9)
    for row in range(1, 9, 2):
        cells[row] = 0
        cells[row, -1 if row % 4 == 1 else 0] = 1
    closed = cells.clone()
    closed[5, -1] = 0
    assert joins_corners(torch.stack([cells, closed]).flatten(1)).tolist() == [True, False]


@pytest.mark.parametrize("rows", [Batch(BEST[None]), Batch(BEST[None, :8], PICTURES[:1], COSTS[:1])])
def test_paths_need_costs(rows):
    with pytest.raises(ValueError, match="expected pictures"):
        PathQuality()(None, rows)


def test_edge_scores():
    truth = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1]])
    chosen = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]])
    model = SimpleNamespace(posteriors=lambda x: [law(chosen[x[:, 0].long()]), None])
    rows = Batch(torch.arange(4.0)[:, None], target=truth)
    found = EdgeScores(batch_size=2)(model, rows)
    precision = torch.tensor([1, 1 / 3, 1, 0])
    assert found["edge_accuracy"] == pytest.approx((3 + 1 + 4 + 2) / 16)
    assert found["edge_precision"] == pytest.approx(precision.mean().item())
    assert found["edge_precision_se"] == pytest.approx(precision.std().item() / 2)
    assert found["edge_recall"] == pytest.approx((0.5 + 0.5 + 1 + 0) / 4)
    assert EdgeScores(label_swap=True)(model, rows) == found
    chosen = 1 - chosen  # the name of `chosen` is looked up when the model is called
    swapped, plain = (EdgeScores(label_swap=swap)(model, rows) for swap in (True, False))
    assert swapped == found
    assert plain["edge_precision"] < found["edge_precision"]
    with pytest.raises(ValueError, match="true edges"):
        EdgeScores()(model, Batch(rows.x))
    with pytest.raises(ValueError, match=r"expected edges \(4, 3\), got \(4, 4\)"):
        EdgeScores()(model, rows._replace(target=truth[:, :3]))


def test_subset_precision():
    x = torch.tensor([[0, 0, 5, 6], [1, 2, 3, 4], [0, 7, 8, 9]])
    z = torch.tensor([[0.0, 1, 1, 0], [1, 1, 0, 0], [0, 1, 0, 1]])
    marks = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1]]).bool()
    model = SimpleNamespace(selection=lambda ids: law(z[[x.tolist().index(row) for row in ids.tolist()]]))
    found = SubsetPrecision(batch_size=1)(model, Batch(x, marks))
    # the second row has no mark; the first one's padding counts as wrong
    assert found["subset_precision"] == pytest.approx(100 * (1 + 2) / 4)
    assert found["subset_precision_chance"] == pytest.approx(100 * (2 * 1 / 2 + 2 * 3 / 3) / 4)
    none = SubsetPrecision()(model, Batch(x[1:2], marks[1:2]))
    assert all(math.isnan(value) for value in none.values())
    with pytest.raises(ValueError, match="marks as context"):
        SubsetPrecision()(model, Batch(x))


def test_prediction_error():
    x = torch.tensor([[1, 2, 3], [4, 5, 6], [0, 0, 1]])
    model = SimpleNamespace(
        selection=lambda ids: law((ids == ids.amax(-1, keepdim=True)).float()),
        predict=lambda ids, z: (ids * z).sum(-1) / 10,
    )
    scores = torch.tensor([0.5, 0.4, 0.0], dtype=torch.float64)
    expected = 100 * (0.2**2 + 0.2**2 + 0.1**2) / 3
    for target in (scores, scores[:, None]):
        found = PredictionError(batch_size=2)(model, Batch(x, target=target))
        assert found["mse_x100"] == pytest.approx(expected, rel=1e-6)
        assert found["mse_x100_constant"] == pytest.approx(100 * scores.var(correction=0).item())
    with pytest.raises(ValueError, match="scores as target"):
        PredictionError()(model, Batch(x))
    wide = SimpleNamespace(selection=model.selection, predict=lambda ids, z: z)
    with pytest.raises(ValueError, match="expected 3 predictions"):
        PredictionError()(wide, Batch(x, target=scores))
