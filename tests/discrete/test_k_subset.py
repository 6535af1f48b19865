"""Subsets beside enumeration, reference numbers and what is known at the ends.

A chi-square test rejects a right sampler with probability 0.001; seeds are fixed.
"""

from __future__ import annotations

from math import comb, log

import pytest
import torch
from golden_discrete import load
from scipy.stats import chisquare
from torch.distributions import kl_divergence

from logprob.discrete.free_scores import FreeSubset
from logprob.discrete.k_subset import KSubset
from logprob.discrete.solvers.top_k import TopK
from logprob.testing import check_distribution


def enumerated(scores, k):
    """Log-partition function and marginals by their definitions."""
    states = TopK(k).states(scores.shape[-1:]).to(scores)
    energies = scores @ states.T
    log_partition = energies.logsumexp(-1)
    return log_partition, (energies - log_partition.unsqueeze(-1)).exp() @ states


def worst(found, expected):
    return ((found - expected).abs() / expected.abs().clamp(min=1)).max()


@pytest.mark.parametrize("k", range(8))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_reference_numbers(k, dtype, tolerance):
    golden = load("ksubset")
    scores = golden["theta"].to(dtype).requires_grad_()
    q = KSubset(scores, k)
    found = {
        "logZ": q.log_partition,
        "mu": q.marginals,
        "entropy": q.entropy(),
        "kl_uniform": kl_divergence(q, KSubset(torch.zeros(7, dtype=dtype), k)),
        "cov": q.covariance_matrix,
        "simple_grad": torch.autograd.grad(q.marginals, scores, golden["g"].to(dtype), retain_graph=True)[0],
    }
    for name, value in found.items():
        assert value.dtype == dtype
        assert worst(value, golden[f"{name}_k{k}"]) < tolerance, name
    pairs = golden[f"cov_k{k}"] + golden[f"mu_k{k}"].unsqueeze(-1) * golden[f"mu_k{k}"].unsqueeze(-2)
    assert worst(q.pairwise_marginals, pairs) < tolerance
    assert worst(q.variance, golden[f"cov_k{k}"].diagonal(dim1=-2, dim2=-1)) < tolerance


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_single_precision_for_every_k(scale):
    torch.manual_seed(0)
    scores, other = scale * torch.randn(2, 4, 12)
    for k in range(13):
        log_partition, marginals = enumerated(scores.double(), k)
        entropy = log_partition - (marginals * scores.double()).sum(-1)
        theirs, _ = enumerated(other.double(), k)
        divergence = (marginals * (scores - other).double()).sum(-1) - log_partition + theirs
        q, p = KSubset(scores, k), KSubset(other, k)
        assert worst(q.log_partition, log_partition) < 1e-5
        assert worst(q.marginals, marginals) < 1e-5
        assert worst(q.entropy(), entropy) < 1e-5
        assert worst(kl_divergence(q, p), divergence) < 1e-5
        assert worst(kl_divergence(q, KSubset(torch.zeros(12), k)), log(comb(12, k)) - entropy) < 1e-5


def test_far_apart_scores_leave_everything_finite():
    torch.manual_seed(0)
    scores = (160 * torch.rand(8, 350) - 80).requires_grad_()
    direction = torch.randn_like(scores)
    q = KSubset(scores, 10)
    (first,) = torch.autograd.grad(q.log_partition.sum(), scores, create_graph=True)
    (second,) = torch.autograd.grad((first * direction).sum(), scores, create_graph=True)
    (third,) = torch.autograd.grad((second * direction).sum(), scores, retain_graph=True)
    product = q.covariance_product(direction)
    (through,) = torch.autograd.grad(q.marginals.square().sum(), scores)
    for value in (q.log_partition, first, second, third, product, through, q.entropy()):
        assert value.isfinite().all()
    torch.testing.assert_close(first, q.marginals, rtol=0, atol=1e-6)
    torch.testing.assert_close(second, product, rtol=0, atol=1e-5)
    torch.testing.assert_close(q.marginals, KSubset(scores.double(), 10).marginals.float(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("gap", [1e3, 1e9])
@pytest.mark.parametrize("k", [3, 5, 10, 12])
def test_clusters_and_finite_masks(gap, k):
    scores = torch.tensor([0.5, 0.0, -0.5, 0.2, 0.1], dtype=torch.float64)
    scores = torch.cat([scores, scores - gap, scores - 2 * gap])
    expected = enumerated(scores, k)[1]
    assert worst(KSubset(scores, k).marginals, expected) < 1e-6
    assert KSubset(scores.float(), k)._log_weight > -10


def test_the_number_of_items_is_expected_for_all_kinds_of_scores():
    """The probability of k ones, of which everything else is a multiple, must not underflow."""
    torch.manual_seed(0)
    for n in (1, 2, 7, 64, 301):
        for k in {0, 1, n // 3, n - 1, n}:
            tails = torch.randn(20, n) / torch.rand(20, n).clamp(min=1e-4)
            for scores in (torch.zeros(n), torch.randn(20, n), 100 * torch.randn(20, n), tails, tails.round()):
                q = KSubset(scores, k)
                assert (q._log_weight > -5).all()
                torch.testing.assert_close(q.marginals.sum(-1), torch.full(scores.shape[:-1], float(k)))


def test_derivatives():
    torch.manual_seed(0)
    scores = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    for function in (
        lambda s: KSubset(s, 2).log_partition,
        lambda s: KSubset(s, 2).marginals,
        lambda s: KSubset(s, 2).entropy(),
        lambda s: kl_divergence(KSubset(s, 3), KSubset(s.flip(0), 3)),
        lambda s: KSubset(s, 2).covariance_product(s.flip(0)),
    ):
        assert torch.autograd.gradcheck(function, scores)
        assert torch.autograd.gradgradcheck(function, scores)


def test_samples_have_their_probabilities():
    torch.manual_seed(0)
    q = KSubset(torch.randn(2, 6), 3)
    states, draws = q.enumerate_support(), q.sample((100_000,))
    assert draws.shape == (100_000, 2, 6)
    powers = 2.0 ** torch.arange(6)
    for row, probability in enumerate(q.log_prob(states).double().exp().unbind(-1)):
        counts = (draws[:, row] @ powers).unsqueeze(-1) == states[:, row] @ powers
        assert counts.sum() == 100_000
        assert chisquare(counts.sum(0), 100_000 * probability / probability.sum()).pvalue > 1e-3


def test_samples_never_have_what_has_no_probability():
    torch.manual_seed(0)
    scores = torch.tensor([0.0, -1e9, 1.0, -torch.inf, torch.inf, 0.5, -1e9])
    z = KSubset(scores, 3).sample((20_000,))
    assert (z.sum(-1) == 3).all()
    assert (z[:, [1, 3, 6]] == 0).all()
    assert (z[:, 4] == 1).all()


def test_fixed_items_condition_the_law():
    """Items that are in or out leave the law of the other ones, and pass no gradient on."""
    torch.manual_seed(0)
    free = torch.randn(4, dtype=torch.float64)
    fixed = free.new_tensor([torch.inf, -torch.inf, torch.inf])
    scores = torch.cat([fixed[:1], free[:2], fixed[1:], free[2:]]).requires_grad_()
    q, rest = KSubset(scores, 4), KSubset(free, 2)
    where = [1, 2, 5, 6]
    torch.testing.assert_close(q.marginals[where], rest.marginals)
    torch.testing.assert_close(q.marginals[[0, 3, 4]], free.new_tensor([1.0, 0.0, 1.0]))
    torch.testing.assert_close(q.log_partition, rest.log_partition)
    torch.testing.assert_close(q.entropy(), rest.entropy())
    states = q.enumerate_support()
    torch.testing.assert_close(q.log_prob(states).exp() @ states, q.marginals)
    assert (q.mode[[0, 3, 4]] == torch.tensor([1.0, 0.0, 1.0])).all()
    (found,) = torch.autograd.grad(q.marginals[1] + q.entropy(), scores)
    assert found.isfinite().all()
    assert (found[[0, 3, 4]] == 0).all()
    open_law = KSubset(torch.zeros(7, dtype=torch.float64), 4)
    torch.testing.assert_close(kl_divergence(q, open_law), log(comb(7, 4)) - q.entropy())
    assert kl_divergence(open_law, q) == torch.inf


@pytest.mark.parametrize(("n", "k"), [(1, 0), (1, 1), (4, 0), (4, 4)])
def test_one_subset_is_left(n, k):
    scores = torch.randn(n, dtype=torch.float64, requires_grad=True)
    q = KSubset(scores, k)
    torch.testing.assert_close(q.log_partition, scores.sum() * (k > 0), rtol=0, atol=1e-12)
    torch.testing.assert_close(q.marginals, torch.full_like(scores, k > 0), rtol=0, atol=1e-12)
    assert q.entropy().abs() < 1e-12
    assert torch.autograd.grad(q.marginals.sum() + q.entropy(), scores)[0].abs().max() < 1e-12
    assert (q.sample((3,)) == float(k > 0)).all()


def test_one_of_n_is_categorical():
    logits = torch.randn(3, 5)
    q, categorical = KSubset(logits, 1), torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(q.marginals, categorical.probs)
    torch.testing.assert_close(q.entropy(), categorical.entropy())
    torch.testing.assert_close(q.log_prob(torch.eye(5).unsqueeze(1)).T, categorical.logits)


def test_off_the_subsets_the_probability_is_zero():
    q = KSubset(torch.randn(4), 2)
    values = torch.tensor([[1.0, 1, 1, 0], [0.5, 0.5, 0.5, 0.5], [2, 0, 0, 0], [1, 1, 0, 0]])
    assert q.log_prob(values).isneginf().tolist() == [True, True, True, False]
    assert q.contains(values).tolist() == [False, False, False, True]
    torch.testing.assert_close(q.log_prob(values[3].bool()), q.log_prob(values[3]))


def test_log_probabilities_of_draws_carry_the_score_function():
    scores = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    q = KSubset(scores, 2)
    z, log_prob = q.draw_with_log_prob((4,))
    assert not z.requires_grad
    torch.testing.assert_close(log_prob, q.log_prob(z))
    (score,) = torch.autograd.grad(log_prob.sum(), scores, retain_graph=True)
    torch.testing.assert_close(score, (z - q.marginals).sum(0))


def test_contract_of_distributions():
    states = TopK(2).states((5,))
    check_distribution(lambda: FreeSubset([0.3, -1.0, 0.5, 1.0, 0.0], 2), states, nodes=states)


def test_types_shapes_and_transforms():
    scores = torch.randn(2, 3, 4, 5).transpose(0, 2)
    q = KSubset(scores, 2)
    assert q.batch_shape == (4, 3, 2)
    torch.testing.assert_close(q.marginals, torch.func.vmap(lambda s: KSubset(s, 2).marginals)(scores))
    torch.testing.assert_close(q.expand((7, 4, 3, 2)).marginals[3], q.marginals)
    narrow = KSubset(scores.bfloat16(), 2)
    for value in (narrow.marginals, narrow.sample(), narrow.entropy(), narrow.log_partition, narrow.mode):
        assert value.dtype == torch.bfloat16
    (found,) = torch.func.vjp(lambda s: KSubset(s, 2).entropy(), scores)[1](torch.ones(4, 3, 2))
    torch.testing.assert_close(found, -q.covariance_product(scores), rtol=1e-4, atol=1e-5)


def test_a_law_that_was_sampled_first_is_still_differentiable():
    scores = torch.randn(5, requires_grad=True)
    q = KSubset(scores, 2)
    with torch.no_grad():
        assert not q.sample().requires_grad
    assert q.marginals.requires_grad


def test_compiled_marginals_and_their_gradient():
    scores = torch.randn(3, 6, requires_grad=True)
    marginals = lambda s: KSubset(s, 2).marginals  # noqa: E731
    compiled = torch.compile(marginals, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(scores), marginals(scores))
    weights = torch.randn(3, 6)
    found = [torch.autograd.grad((function(scores) * weights).sum(), scores)[0] for function in (compiled, marginals)]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: KSubset(torch.zeros(3), 4), "0 <= k <= n and n >= 1, got k = 4 and n = 3"),
        (lambda: KSubset(torch.zeros(2, 0), 0), "got k = 0 and n = 0"),
        (lambda: KSubset(torch.zeros(3, dtype=torch.int64), 1), r"floating point scores .* got torch.int64"),
        (lambda: KSubset(torch.tensor([[0.0, 1], [0, torch.nan]]), 1).marginals, "instance 1: expected numbers"),
        (lambda: KSubset(torch.tensor([torch.inf, torch.inf]), 1).sample(), r"at most k = 1 of them \+inf"),
        (lambda: KSubset(torch.tensor([-torch.inf, 0.0]), 2).entropy(), "at most n - k = 0 -inf"),
        (
            lambda: kl_divergence(KSubset(torch.zeros(3), 1), KSubset(torch.zeros(3), 2)),
            r"over the same structures, got TopK\(k=1\) on \(3,\) and TopK\(k=2\)",
        ),
    ],
)
def test_errors_say_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_where_an_error_would_need_the_host_there_is_nan():
    scores = torch.tensor([[0.0, 1.0, torch.nan], [0.0, 1.0, 2.0]])
    marginals = torch.func.vmap(lambda s: KSubset(s, 1).marginals)(scores)
    samples = torch.func.vmap(lambda s: KSubset(s, 1).sample(), randomness="different")(scores)
    for value in (marginals, samples):
        assert value.isnan().all(-1).tolist() == [True, False]
