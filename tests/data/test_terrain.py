"""Maps and their cheapest paths, against scipy, networkx and the files that are written of them."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from golden_discrete import load

from logprob.data import CorruptDataError, MissingDataError, TerrainMaps, WarcraftMaps, terrain
from logprob.data.grid_paths import cheapest_paths
from logprob.data.terrain import COSTS, JITTER, SHARES, terrain_block


def kings(costs):
    """The grid as a graph: eight neighbours, an edge costs what the cell that it leads to does."""
    graph = nx.DiGraph()
    height, width = costs.shape
    for i, j in np.ndindex(height, width):
        for a, b in np.ndindex(3, 3):
            to = (i + a - 1, j + b - 1)
            if to != (i, j) and 0 <= to[0] < height and 0 <= to[1] < width:
                graph.add_edge((i, j), to, weight=float(costs[to]))
    return graph


@pytest.mark.parametrize("name", ["grid6", "grid12"])
def test_paths_of_the_reference_files(name):
    golden = load("solvers")
    found = cheapest_paths(golden[f"{name}_cost"].numpy())
    np.testing.assert_array_equal(found.paths, golden[f"{name}_path_c8"])
    np.testing.assert_allclose(found.totals, golden[f"{name}_total_c8"], rtol=0, atol=1e-12)
    assert found.unique.all()


def test_ties_are_noticed():
    costs = np.random.default_rng(0).integers(1, 4, (40, 4, 5)).astype(float)
    found = cheapest_paths(costs)
    for cost, path, total, unique in zip(costs, *found, strict=True):
        graph = kings(cost)
        ways = list(nx.all_shortest_paths(graph, (0, 0), (3, 4), weight="weight"))
        assert unique == (len(ways) == 1)
        assert total == cost[path == 1].sum() == cost[0, 0] + nx.path_weight(graph, ways[0], "weight")
        assert {tuple(cell) for cell in np.argwhere(path)} in [set(way) for way in ways]
    assert 5 < found.unique.sum() < 35


@pytest.mark.parametrize("costs", [np.zeros((1, 2, 2)), np.full((1, 2, 2), np.nan), np.ones((2, 2))])
def test_costs_must_be_positive(costs):
    with pytest.raises(ValueError, match="positive and finite"):
        cheapest_paths(costs)


def test_two_hundred_maps():
    source = TerrainMaps(side=12, train=200, valid=3, test=2)
    data = source.load()
    assert data.content_sha256 == source.load().content_sha256
    weights = data.train.target.numpy().reshape(-1, 12, 12)
    paths = data.train.x.numpy().reshape(-1, 12, 12)
    for cost, path in zip(weights[:20], paths[:20], strict=True):
        (way,) = nx.all_shortest_paths(kings(cost), (0, 0), (11, 11), weight="weight")
        assert {tuple(cell) for cell in np.argwhere(path)} == set(way)
    found = cheapest_paths(weights)
    assert found.unique.all()
    np.testing.assert_array_equal(found.paths, paths)
    # every map has each terrain in its share, and costs are the terrain's but for the jitter
    kinds = np.abs(weights[..., None] - COSTS).argmin(-1)
    assert np.all((weights - COSTS[kinds] >= -1e-6) & (weights - COSTS[kinds] <= JITTER + 1e-6))
    shares = (kinds.reshape(200, -1, 1) == np.arange(5)).mean(1)
    assert np.abs(shares - SHARES).max() < 0.01
    assert len(np.unique(weights)) > 10_000


def test_pictures_are_standardised_by_the_training_rows():
    data = TerrainMaps(side=6, train=30, valid=4, test=4, tile=4).load()
    pictures = data.train.context
    assert (pictures.shape, pictures.dtype) == ((30, 3, 24, 24), torch.float32)
    mean, std = pictures.double().mean((0, 2, 3)), pictures.double().std((0, 2, 3), correction=0)
    assert mean.abs().max() < 1e-6
    assert (std - 1).abs().max() < 1e-6
    moments = data.provenance["colours"]
    pixels = terrain_block((0, 1), np.arange(4), 6, 4).maps
    back = data.valid.context.movedim(1, -1).double() * torch.tensor(moments["std"]) + torch.tensor(moments["mean"])
    np.testing.assert_allclose(back, pixels, atol=1e-4)


def test_a_map_depends_on_its_number_alone():
    few, many = (TerrainMaps(side=5, train=n, valid=2, test=n, seed=3).load() for n in (4, 140))
    torch.testing.assert_close(few.train.target, many.train.target[:4], rtol=0, atol=0)
    torch.testing.assert_close(few.valid.x, many.valid.x, rtol=0, atol=0)
    assert not torch.equal(few.train.target, few.test.target)
    other = TerrainMaps(side=5, train=4, valid=2, test=4, seed=4).load()
    assert not torch.equal(few.train.target, other.train.target)


def test_tied_maps_are_made_anew(monkeypatch):
    """Without jitter most maps are tied; what is kept has one cheapest path all the same."""
    monkeypatch.setattr(terrain, "JITTER", 0.0)
    block = terrain_block((0, 0), np.arange(30), 3, 2)
    alone = [terrain_block((0, 0), np.array([i]), 3, 2) for i in range(30)]
    found = cheapest_paths(block.weights)
    assert found.unique.all()
    np.testing.assert_array_equal(block.paths, found.paths)
    np.testing.assert_array_equal(block.maps, np.concatenate([one.maps for one in alone]))
    first = terrain._drawn([(0, 0, i, 0) for i in range(30)], 3, 2)
    assert not cheapest_paths(COSTS[terrain._terrains(first, 3)]).unique.all()


@pytest.mark.parametrize("options", [{"side": 1}, {"train": 0}, {"tile": 0}, {"seed": -1}])
def test_terrain_maps_refuses(options):
    with pytest.raises(ValueError, match="expected side from 2"):
        TerrainMaps(**options)


@pytest.mark.parametrize("folder", ["", "5x5", "warcraft_shortest_path/5x5"])
def test_written_maps_are_read_again(tmp_path, folder):
    source = TerrainMaps(side=5, train=7, valid=2, test=3)
    source.write(tmp_path / folder)
    made, read = source.load(), WarcraftMaps(5).load(tmp_path)
    for name in ("train", "valid", "test"):
        for one, other in zip(getattr(made, name), getattr(read, name), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert read.content_sha256 == made.content_sha256
    assert len(read.provenance["files"]) == 9
    maps = np.load(tmp_path / folder / "val_maps.npy")
    assert (maps.shape, maps.dtype) == ((2, 40, 40, 3), np.uint8)


def spoilt(name, change):
    def spoil(folder):
        path = folder / name
        array = np.load(path)
        np.save(path, change(array))

    return spoil


def cut(array):
    array = array.copy()
    array[0, 0, 0] = 0
    return array


SPOILT = {
    "type": (spoilt("train_maps.npy", lambda a: a.astype(np.float32)), "type and dimensions"),
    "pixels": (spoilt("val_maps.npy", lambda a: a[:, :-1]), "left over"),
    "sizes": (spoilt("test_maps.npy", lambda a: a.repeat(2, 1).repeat(2, 2)), "picture sizes"),
    "shape": (spoilt("train_vertex_weights.npy", lambda a: a[:, 1:]), "shape"),
    "costs": (spoilt("test_vertex_weights.npy", lambda a: -a), "positive and finite"),
    "cells": (spoilt("train_shortest_paths.npy", lambda a: 2 * a), "0 or 1"),
    "ends": (spoilt("train_shortest_paths.npy", cut), "upper left"),
    "no array": (lambda folder: (folder / "val_maps.npy").write_bytes(b"no array"), "array of NumPy"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_wrong_files_are_refused(tmp_path, name):
    spoil, message = SPOILT[name]
    TerrainMaps(side=4, train=3, valid=2, test=2).write(tmp_path)
    spoil(tmp_path)
    with pytest.raises(CorruptDataError, match=message):
        WarcraftMaps(4).load(tmp_path)


def test_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(MissingDataError, match=r"12x12/train_maps\.npy[\s\S]*TerrainMaps"):
        WarcraftMaps(12).load(tmp_path)


@pytest.mark.parametrize("source", [TerrainMaps(5), WarcraftMaps(5)])
def test_stand_ins(source):
    data = source.stand_in(6)
    assert data.name.endswith("5x5 stand-in")
    assert "stand_in" in data.provenance
    assert [part.context.shape[0] for part in (data.train, data.valid, data.test)] == [6, 6, 6]
