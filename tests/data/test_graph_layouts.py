"""Layouts of hidden trees: reference files and networkx."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from golden_discrete import load

from logprob.data import GraphLayouts
from logprob.data.spring_layout import adjacency_of, heaviest_trees, spring_step, trajectories


@pytest.mark.parametrize("n", [6, 10])
def test_reference_files(n):
    golden = {name: value.numpy() for name, value in load("models_losses").items() if name.startswith(f"layout_n{n}_")}
    tree = adjacency_of(heaviest_trees(golden[f"layout_n{n}_edge_weights"], n), n)
    np.testing.assert_array_equal(tree, golden[f"layout_n{n}_adj"])
    moves = trajectories(golden[f"layout_n{n}_init"], tree, steps=10)  # [step, vertex, coordinate]
    np.testing.assert_allclose(moves.swapaxes(-1, -2), golden[f"layout_n{n}_positions"], rtol=0, atol=1e-9)


def test_a_step_is_that_of_networkx():
    rng = np.random.default_rng(0)
    start = rng.standard_normal((5, 7, 2))
    start[0, 1] = start[0, 0] + 1e-4  # closer than what counts
    tree = heaviest_trees(rng.random((5, 21)), 7)
    got = spring_step(start, adjacency_of(tree, 7))
    for positions, matrix, moved in zip(start, adjacency_of(tree, 7), got, strict=True):
        at = nx.spring_layout(
            nx.from_numpy_array(matrix), pos=dict(enumerate(positions)), iterations=1, threshold=1e-10
        )
        np.testing.assert_allclose(moved, [at[i] for i in range(7)], atol=1e-12)


def test_trees_are_heaviest():
    weights = np.random.default_rng(1).standard_normal((50, 15))
    tail, head = np.triu_indices(6, 1)
    for row, tree in zip(weights, heaviest_trees(weights, 6), strict=True):
        graph = nx.Graph()
        graph.add_weighted_edges_from(zip(tail, head, row, strict=True))
        best = {tuple(sorted(edge)) for edge in nx.maximum_spanning_edges(graph, data=False)}
        assert best == {(tail[i], head[i]) for i in np.flatnonzero(tree)}


def test_rows():
    source = GraphLayouts(vertices=6, steps=4, train=60, valid=5, test=7)
    data = source.load()
    assert data.content_sha256 == source.load().content_sha256
    assert (data.train.x.shape, data.valid.target.shape, data.variables) == ((60, 48), (5, 15), 48)
    assert data.train.x.min() == -1
    assert data.train.x.max() == 1
    assert all((part.target.sum(-1) == 5).all() for part in (data.train, data.valid, data.test))
    # each row is the next step of the drawing before it, in the units of the source
    moves = data.transform(data.test.x).unflatten(-1, (4, 6, 2)).numpy()
    tree = adjacency_of(data.test.target.numpy(), 6)
    np.testing.assert_allclose(spring_step(moves[:, 2], tree), moves[:, 3], atol=1e-12)


def test_first_rows_stay():
    few, many = (GraphLayouts(4, 3, train=n, valid=2, test=2, seed=1).load() for n in (5, 1030))
    torch.testing.assert_close(few.train.target, many.train.target[:5], rtol=0, atol=0)
    torch.testing.assert_close(few.transform(few.train.x), many.transform(many.train.x)[:5])
    data = GraphLayouts().stand_in(20)
    assert data.train.x.shape == (20, 200)
    assert data.name == "graph-layouts-10-10 stand-in"


@pytest.mark.parametrize("options", [{"vertices": 1}, {"steps": 1}, {"valid": 0}, {"seed": -1}])
def test_refuses(options):
    with pytest.raises(ValueError, match="expected vertices and steps from 2"):
        GraphLayouts(**options)
