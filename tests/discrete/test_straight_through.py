"""Exact samples with the gradient of the marginals."""

from __future__ import annotations

import pytest
import torch
from golden_discrete import load

from logprob.discrete.arborescences import Arborescences
from logprob.discrete.k_subset import KSubset
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.top_k import TopK
from logprob.discrete.spanning_trees import SpanningTrees
from logprob.discrete.straight_through import StraightThroughMarginals
from logprob.distributions import IntractableError
from logprob.gradients import Enumeration, StraightThrough
from logprob.simplex.concrete import Concrete

LAWS = {
    "subsets": lambda s: KSubset(s, 2),
    "one of n": lambda s: KSubset(s, 1),
    "trees": SpanningTrees,
    "arborescences": lambda s: Arborescences(s.unflatten(-1, (2, 3))[..., [0, 1, 1], :]),
}


def test_reference_numbers():
    golden = load("ksubset")
    for k in range(8):
        scores = golden["theta"].clone().requires_grad_()
        z = StraightThroughMarginals().rsample(KSubset(scores, k), (3,))
        assert (z.sum(-1) == k).all()
        (found,) = torch.autograd.grad((z * golden["g"]).sum() / 3, scores)
        torch.testing.assert_close(found, golden[f"simple_grad_k{k}"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_samples_are_exact_and_the_gradient_is_for_linear_functions(name):
    torch.manual_seed(0)
    scores = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    q = LAWS[name](scores)
    weights = torch.randn(q.event_shape, dtype=torch.float64)
    z = StraightThroughMarginals().rsample(q, (5,))
    assert z.shape == (5, *q.batch_shape, *q.event_shape)
    assert q.contains(z.detach()).all()
    (found,) = torch.autograd.grad((z * weights).sum() / 5, scores, retain_graph=True)
    expected = torch.autograd.grad((q.marginals * weights).sum(), scores)[0]
    torch.testing.assert_close(found, expected)


def test_for_one_of_n_it_is_the_straight_through_gradient_of_a_softmax():
    logits = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, dtype=torch.float64)
    f = lambda z: z @ weights  # noqa: E731
    simple = StraightThroughMarginals()(KSubset(logits, 1), f)
    softmax = StraightThrough()(Concrete(0.5, logits), f)
    exact = Enumeration()(KSubset(logits, 1), f)
    found = [torch.autograd.grad(value.sum(), logits)[0] for value in (simple, softmax, exact)]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


def test_a_law_without_marginals_is_told_who_has_them():
    q = PerturbAndMAP(torch.zeros(4), TopK(2))
    with pytest.raises(IntractableError, match=r"PerturbAndMAP has no exact marginals; KSubset, SpanningTrees and Arb"):
        StraightThroughMarginals().rsample(q)
