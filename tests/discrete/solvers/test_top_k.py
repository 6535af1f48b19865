"""Top-k: exactly k ones, ties, infinities, masks and a k for every row."""

from __future__ import annotations

import pytest
import torch

from logprob.discrete.solvers.top_k import TopK
from logprob.distributions import IntractableError

INF = float("inf")


def by_stable_sort(scores, k):
    order = torch.sort(scores, dim=-1, descending=True, stable=True).indices
    return torch.zeros_like(scores).scatter_(-1, order[..., :k], 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_ties_go_to_the_lowest_index(dtype):
    torch.manual_seed(0)
    for n, k in ((1, 0), (1, 1), (7, 3), (40, 10), (40, 40)):
        scores = torch.randint(0, 4, (200, n)).to(dtype)
        z = TopK(k)(scores)
        assert torch.equal(z, by_stable_sort(scores, k))
        assert z.dtype == dtype
        assert (z.sum(-1) == k).all()


def test_rows_without_ties_are_those_of_topk():
    torch.manual_seed(0)
    scores = torch.randn(5, 6, 30)
    assert torch.equal(TopK(4)(scores), by_stable_sort(scores, 4))


def test_infinities():
    scores = torch.tensor([[INF, -INF, 0.0, INF], [-INF, -INF, -INF, 0.0]])
    assert TopK(2)(scores).tolist() == [[1, 0, 0, 1], [1, 0, 0, 1]]
    assert TopK(3)(scores).tolist() == [[1, 0, 1, 1], [1, 1, 0, 1]]
    assert TopK(1)(scores).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_nan_is_an_error_or_the_answer():
    scores = torch.zeros(3, 4)
    scores[1, 2] = torch.nan
    for solver in (TopK(2), TopK(4), TopK(0)):
        with pytest.raises(ValueError, match=r"instance 1: a score is NaN"):
            solver(scores)
    wrong = torch.vmap(TopK(2))(scores).isnan()
    assert wrong.tolist() == [[False] * 4, [True] * 4, [False] * 4]


def test_k_of_every_row():
    torch.manual_seed(0)
    scores = torch.randint(0, 3, (50, 4, 9)).float()
    k = torch.randint(0, 10, (50, 4))
    z = TopK(2)(scores, k=k)
    for value in range(10):
        assert torch.equal(z[k == value], by_stable_sort(scores[k == value], value))


def test_masked_items_are_never_in():
    scores = torch.tensor([[5.0, 1.0, -INF, 1.0], [5.0, 1.0, -INF, 1.0]])
    mask = torch.tensor([[False, True, True, True], [False, False, True, False]])
    assert TopK(3)(scores, mask=mask).tolist() == [[0, 1, 1, 1], [0, 0, 1, 0]]
    assert TopK(3)(scores, mask=mask, k=torch.tensor([1, 0])).tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("instance", [{}, {"k": torch.tensor([1, 2])}, {"mask": torch.ones(2, 5) > 0}])
def test_compiles_as_one_graph(instance):
    torch.compiler.reset()
    scores = torch.tensor([[1.0, 1, 1, 0, 2], [0, 0, 0, 0, 1]])
    compiled = torch.compile(TopK(2), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(scores, **instance), TopK(2)(scores, **instance))


def test_no_gradient_and_no_rows():
    assert not TopK(1)(torch.zeros(3, requires_grad=True)).requires_grad
    assert TopK(1)(torch.zeros(0, 3)).shape == (0, 3)
    assert TopK(0)(torch.zeros(2, 0)).shape == (2, 0)


def test_states():
    states = TopK(2).states((4,))
    assert states.shape == (6, 4)
    assert len(states.unique(dim=0)) == 6
    assert (states.sum(-1) == 2).all()
    with pytest.raises(IntractableError, match="more than"):
        TopK(10).states((350,))


def test_errors():
    with pytest.raises(ValueError, match="k >= 0"):
        TopK(-1)
    with pytest.raises(ValueError, match="at least k = 3 items, got 2"):
        TopK(3)(torch.zeros(2))
    with pytest.raises(ValueError, match="floating point"):
        TopK(1)(torch.zeros(2, dtype=torch.int64))
