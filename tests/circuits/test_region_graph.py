"""Region graphs partition their variables, and say so when asked for something else."""

from __future__ import annotations

import pytest

from logprob.circuits import RegionGraph, linear_tree, quad_tree, random_binary_tree
from logprob.circuits.schedule import make_schedule

GRAPHS = [
    random_binary_tree(1),
    random_binary_tree(43, repetitions=3),
    random_binary_tree(17, depth=3, seed=5),
    linear_tree(9, repetitions=2),
    linear_tree(9, seed=1),
    quad_tree((3, 5, 4)),
    quad_tree((1, 1, 7)),
]


@pytest.mark.parametrize("graph", GRAPHS)
def test_leaves_partition_the_variables_of_every_repetition(graph):
    per_root = len(graph.leaves) // len(graph.roots)
    assert per_root * len(graph.roots) == len(graph.leaves)
    variables = sorted(v for leaf in graph.leaves for v in graph.scopes[leaf])
    assert variables == sorted(list(range(graph.variables)) * len(graph.roots))


@pytest.mark.parametrize("graph", GRAPHS)
def test_schedule_visits_every_region_once(graph):
    schedule = make_schedule(graph)
    splits = [region for level in schedule.levels for region in level.splits]
    assert sorted(splits + list(schedule.leaves)) == list(range(len(graph.scopes)))


def test_depth_counts_from_the_root():
    graph = random_binary_tree(8, depth=2)
    assert [len(graph.scopes[leaf]) for leaf in graph.leaves] == [2, 2, 2, 2]
    assert random_binary_tree(8, depth=0).leaves == (0,)
    assert len(make_schedule(random_binary_tree(8)).levels) == 4


def test_seeds():
    assert random_binary_tree(20, seed=1) == random_binary_tree(20, seed=1)
    assert random_binary_tree(20, seed=1) != random_binary_tree(20, seed=2)
    first, second = (g for g in linear_tree(5, repetitions=2).roots)
    assert first != second
    assert linear_tree(5).scopes[-2] == (1, 2, 3, 4)


def test_quad_tree_halves_rows_then_columns():
    graph = quad_tree((1, 4, 4))
    left, right = graph.children[graph.roots[0]]
    assert graph.scopes[left] == tuple(range(8))
    assert graph.scopes[graph.children[left][0]] == (0, 1, 4, 5)
    assert graph.scopes[right] == tuple(range(8, 16))


@pytest.mark.parametrize(
    ("scopes", "children", "message"),
    [
        (((0,), (1,), (0, 1)), (None, None), "one entry of children per scope"),
        (((0,), (0,), (0, 1)), (None, None, (0, 1)), "do not partition"),
        (((0,), (1,), (0, 1), (0, 1)), (None, None, (0, 1), (0, 1)), "2 parents"),
        (((0,), (1,)), (None, None), "expected all variables"),
    ],
)
def test_broken_graphs_are_refused(scopes, children, message):
    with pytest.raises(ValueError, match=message):
        RegionGraph(scopes, children)


@pytest.mark.parametrize(
    "build", [lambda: random_binary_tree(0), lambda: linear_tree(3, repetitions=0), lambda: quad_tree((1, 2))]
)
def test_wrong_sizes_are_refused(build):
    with pytest.raises(ValueError, match=r"at least 1|image_shape"):
        build()
