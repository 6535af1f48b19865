"""Trees beside enumeration, reference numbers and counts that are known.

A chi-square test rejects a right sampler with probability 0.001; seeds are fixed.
"""

from __future__ import annotations

from math import log

import pytest
import torch
from golden_discrete import load
from scipy.stats import chisquare
from torch.distributions import kl_divergence

from logprob.discrete.arborescences import Arborescences
from logprob.discrete.free_scores import FreeTree
from logprob.discrete.solvers.spanning_tree import SpanningTree, matrix_of
from logprob.discrete.spanning_trees import SpanningTrees
from logprob.testing import check_distribution


def worst(found, expected):
    return ((found - expected).abs() / expected.abs().clamp(min=1)).max()


@pytest.mark.parametrize("n", [3, 4, 5, 6])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_reference_numbers(n, dtype, tolerance):
    golden = load("trees")
    scores = golden[f"n{n}_theta"].to(dtype)
    q = SpanningTrees(scores)
    found = {
        "logZ": q.log_partition,
        "mu": q.marginals,
        "entropy": q.entropy(),
        "kl_uniform": kl_divergence(q, SpanningTrees(torch.zeros_like(scores))),
    }
    if n < 6:
        found["cov"] = q.covariance_matrix
    for name, value in found.items():
        assert value.dtype == dtype
        assert worst(value, golden[f"n{n}_{name}"]) < tolerance, name


def test_reference_arborescences():
    golden = load("trees")
    q = Arborescences(golden["arb4_theta"])
    assert worst(q.log_partition, golden["arb4_logZ"]) < 1e-9
    assert worst(q.marginals, golden["arb4_mu"]) < 1e-9
    best = Arborescences(golden["arb5_weights"]).mode
    torch.testing.assert_close(best, golden["arb5_map"].to(best))


def test_marginals_are_those_of_all_trees():
    torch.manual_seed(0)
    q = SpanningTrees(torch.randn(3, 10, dtype=torch.float64))
    trees = q.enumerate_support()
    probabilities = q.log_prob(trees).exp()
    assert len(trees) == 125
    torch.testing.assert_close(probabilities.sum(0), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close((probabilities.unsqueeze(-1) * trees).sum(0), q.marginals)


def test_cayleys_formula():
    for n in range(2, 9):
        q = SpanningTrees(torch.zeros(n * (n - 1) // 2, dtype=torch.float64))
        torch.testing.assert_close(q.log_partition.item(), (n - 2) * log(n))
        torch.testing.assert_close(q.entropy().item(), (n - 2) * log(n))
        rooted = Arborescences(torch.zeros(n, n, dtype=torch.float64), root=n // 2)
        torch.testing.assert_close(rooted.log_partition.item(), (n - 2) * log(n))


def test_far_apart_scores_leave_everything_right():
    torch.manual_seed(0)
    scores = (100 * torch.randn(4, 435, dtype=torch.float64)).requires_grad_()
    q = SpanningTrees(scores)
    torch.testing.assert_close(q.marginals.sum(-1), torch.full((4,), 29.0).double(), rtol=0, atol=1e-6)
    assert (q.marginals >= 0).all()
    assert (q.marginals <= 1 + 1e-12).all()
    (through,) = torch.autograd.grad(q.marginals, scores, torch.randn_like(scores), retain_graph=True)
    assert through.isfinite().all()
    (first,) = torch.autograd.grad(q.log_partition.sum(), scores)
    torch.testing.assert_close(first, q.marginals, rtol=0, atol=1e-12)
    best = q.mode
    assert (q.log_prob(best) <= 0).all()
    assert (q.log_prob(best) >= q.log_prob(q.sample((20,)))).all()


def test_scores_of_single_precision():
    torch.manual_seed(0)
    scores = 160 * torch.rand(4, 435) - 80
    q = SpanningTrees(scores)
    assert worst(q.marginals, SpanningTrees(scores.double()).marginals) < 1e-6
    assert q.covariance_product(torch.randn(4, 435)).isfinite().all()


def test_derivatives():
    torch.manual_seed(0)
    scores = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    for function in (
        lambda s: SpanningTrees(s).log_partition,
        lambda s: SpanningTrees(s).marginals,
        lambda s: SpanningTrees(s).entropy(),
        lambda s: kl_divergence(SpanningTrees(s), SpanningTrees(s.flip(0))),
        lambda s: Arborescences(matrix_of(s) + s.sum(), root=1).marginals,
    ):
        assert torch.autograd.gradcheck(function, scores)
        assert torch.autograd.gradgradcheck(function, scores)


def test_samples_have_their_probabilities():
    torch.manual_seed(0)
    q = SpanningTrees(torch.randn(2, 6))
    states, draws = q.enumerate_support(), q.sample((100_000,))
    assert q.contains(draws).all()
    powers = 2.0 ** torch.arange(6)
    for row, probability in enumerate(q.log_prob(states).double().exp().unbind(-1)):
        counts = (draws[:, row] @ powers).unsqueeze(-1) == states[:, row] @ powers
        assert counts.sum() == 100_000
        assert chisquare(counts.sum(0), 100_000 * probability / probability.sum()).pvalue > 1e-3


@pytest.mark.parametrize("root", [0, 2])
def test_samples_of_arborescences_have_their_probabilities(root):
    torch.manual_seed(root)
    q = Arborescences(torch.randn(4, 4), root)
    draws = q.sample((50_000,))
    assert q.contains(draws).all()
    states, counts = draws.flatten(-2).unique(dim=0, return_counts=True)
    assert len(states) == 16
    probability = q.log_prob(states.unflatten(-1, (4, 4))).double().exp()
    torch.testing.assert_close(probability.sum().item(), 1.0)
    torch.testing.assert_close((probability.float() @ states).unflatten(-1, (4, 4)), q.marginals)
    assert chisquare(counts, 50_000 * probability / probability.sum()).pvalue > 1e-3


def test_edges_that_do_not_exist():
    scores = torch.tensor([0.3, -torch.inf, 1.0, 0.2, -torch.inf, -0.5], requires_grad=True)  # a circle of 4 vertices
    q = SpanningTrees(scores)
    z = q.sample((1000,))
    assert (z[:, [1, 4]] == 0).all()
    assert (q.marginals[[1, 4]] == 0).all()
    weights = scores[[0, 2, 3, 5]].exp()
    torch.testing.assert_close(q.log_partition.exp(), weights.prod() * (1 / weights).sum())
    states = q.enumerate_support()
    assert (q.log_prob(states).exp() > 0).sum() == 4
    torch.testing.assert_close(q.log_prob(states).exp() @ states, q.marginals)
    (found,) = torch.autograd.grad(q.entropy() + q.marginals[0], scores)
    assert found.isfinite().all()
    assert (found[[1, 4]] == 0).all()


def test_off_the_trees_the_probability_is_zero():
    q = SpanningTrees(torch.randn(6))
    values = torch.tensor([[1.0, 1, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0], [0.5] * 6, [1, 1, 1, 0, 0, 0]])
    assert q.log_prob(values).isneginf().tolist() == [True, True, True, False]  # a triangle, too few, no tree, a star
    directed = Arborescences(torch.randn(3, 3))
    circle = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 1, 0]])
    chain = torch.tensor([[0.0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert directed.log_prob(torch.stack([circle, chain, chain.T])).isneginf().tolist() == [True, False, True]


def test_contract_of_distributions():
    states = SpanningTree().states((6,))
    check_distribution(lambda: FreeTree([0.3, -1.0, 0.5, 1.0, 0.0, 0.2]), states, nodes=states)


def test_types_shapes_and_transforms():
    scores = torch.randn(2, 3, 4, 6).transpose(0, 2)
    q = SpanningTrees(scores)
    assert q.batch_shape == (4, 3, 2)
    assert q.sample((5,)).shape == (5, 4, 3, 2, 6)
    torch.testing.assert_close(q.marginals, torch.func.vmap(lambda s: SpanningTrees(s).marginals)(scores))
    narrow = SpanningTrees(scores.bfloat16())
    for value in (narrow.marginals, narrow.sample(), narrow.entropy(), narrow.log_partition, narrow.mode):
        assert value.dtype == torch.bfloat16
    compiled = torch.compile(lambda s: SpanningTrees(s).marginals, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(scores), q.marginals)


def test_the_smallest_graphs():
    assert SpanningTrees(torch.zeros(0)).log_partition == 0
    assert SpanningTrees(torch.zeros(0)).sample((2,)).shape == (2, 0)
    two = SpanningTrees(torch.tensor([[0.7], [-3.0]]))
    torch.testing.assert_close(two.log_partition, torch.tensor([0.7, -3.0]))
    assert (two.sample((3,)) == 1).all()
    assert (two.marginals == 1).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SpanningTrees(torch.zeros(4)), "edges of a complete graph, got 4"),
        (lambda: SpanningTrees(torch.tensor([0.0, -torch.inf, -torch.inf])).sample(), "expected a tree of edges"),
        (lambda: SpanningTrees(torch.tensor([0.0, torch.nan, 1.0])).marginals, "whose scores are numbers"),
        (lambda: SpanningTrees(torch.tensor([0.0, torch.inf, 1.0])).entropy(), r"and no score \+inf"),
        (lambda: Arborescences(torch.zeros(2, 3)), r"square matrices with a row 0, got shape \(2, 3\)"),
        (lambda: Arborescences(torch.zeros(2, 2), root=2), "with a row 2"),
        (
            lambda: kl_divergence(Arborescences(torch.zeros(3, 3)), Arborescences(torch.zeros(3, 3), 1)),
            r"got Arborescence\(root=0\) on \(3, 3\) and Arborescence\(root=1\)",
        ),
    ],
)
def test_errors_say_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()
