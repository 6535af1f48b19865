"""Nulls and intervals of the mean correlation coefficient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from logprob.metrics import mcc, seed_interval
from logprob.metrics.permutation_null import shuffle


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize("kind", ["rows", "within"])
def test_null_is_that_of_one_shuffle_at_a_time(kind, method):
    s, z = normal(40, 3), normal(40, 2, seed=1)
    labels = torch.arange(40) % 4
    found = mcc(s, z, method=method, null=kind, groups=labels, permutations=7, generator=5)
    random = torch.Generator().manual_seed(5)
    orders = [shuffle(40, labels if kind == "within" else None, random) for _ in range(7)]
    slow = [mcc(s[order], z, method=method).score for order in orders]
    assert found.null.kind == kind
    assert found.null.scores.tolist() == pytest.approx(slow, abs=1e-12)
    assert found.null.p_value == (1 + sum(score >= found.score for score in slow)) / 8
    assert found.null.mean == pytest.approx(np.mean(slow))
    assert found.null.quantile == pytest.approx(np.quantile(slow, 0.95))


def test_null_in_pieces_is_the_same(monkeypatch):
    s, z = normal(40, 3), normal(40, 2, seed=1)
    whole = mcc(s, z, null="rows", permutations=11, generator=2).null.scores
    monkeypatch.setattr("logprob.metrics.permutation_null.AT_ONCE", 3 * s.numel())
    assert torch.allclose(mcc(s, z, null="rows", permutations=11, generator=2).null.scores, whole, atol=1e-14)


def test_shuffles_inside_groups_keep_the_groups():
    labels = torch.tensor([2, 0, 1, 0, 2, 2, 1, 0, 5])
    random = torch.Generator().manual_seed(0)
    seen = [shuffle(9, labels, random) for _ in range(600)]
    assert all(torch.equal(labels[order], labels) and len(set(order.tolist())) == 9 for order in seen)
    counts = torch.stack(seen)[:, 0].bincount(minlength=9)  # where the first row comes from: one of three, alike often
    assert counts[[0, 4, 5]].sum() == 600
    assert chisquare(counts[[0, 4, 5]].numpy()).pvalue > 1e-3


def test_knowing_the_group_beats_the_null_of_rows_only():
    """Features that are the scale of the group: above chance against |s|, but not within groups."""
    labels = torch.arange(2000) % 10
    scale = 0.1 + normal(10, 3, seed=3).abs()
    s, z = normal(2000, 3) * scale[labels], scale[labels] + 0.01 * normal(2000, 3, seed=1)
    words = [f"segment {label}" for label in labels.tolist()]
    rows = mcc(s, z, target="abs", null="rows", generator=0)
    within = mcc(s, z, target="abs", null="within", groups=words, generator=0)
    assert rows.score > 0.4
    assert rows.null.p_value == 1 / 201
    assert within.null.mean == pytest.approx(within.score, abs=0.03)
    assert within.null.p_value > 0.01


def test_p_values_of_independent_rows_are_uniform():
    """200 scores of nothing: the share below 0.1 is within four standard errors (seeds fixed, 6e-5 by chance)."""
    for test in (False, True):
        p = []
        for seed in range(200):
            s, z = normal(60, 2, seed=seed), normal(60, 2, seed=1000 + seed)
            pair = (s[:30], z[:30]) if test else (s, z)
            held = (s[30:], z[30:]) if test else None
            p.append(mcc(*pair, test=held, null="rows", permutations=19, generator=seed).null.p_value)
        share = np.mean(np.array(p) <= 0.1)
        assert abs(share - 0.1) < 4 * (0.09 / 200) ** 0.5


def test_null_of_a_test_pair_keeps_the_assignment():
    s, z = normal(60, 3), normal(60, 3, seed=1)
    found = mcc(s[:30], z[:30], test=(s[30:], z[30:]), null="rows", permutations=3, generator=4)
    random = torch.Generator().manual_seed(4)
    for score in found.null.scores:
        order = torch.randperm(30, generator=random)
        matrix = mcc(s[30:][order], z[30:]).matrix
        assert matrix[found.rows, found.cols].mean().item() == pytest.approx(score.item(), abs=1e-12)


def test_interval_covers_the_correlation():
    """Of one normal pair with correlation 0.6: 95 % intervals cover in 100 draws within four standard errors."""
    covered = 0
    for seed in range(100):
        s = normal(200, 1, seed=seed)
        z = 0.6 * s + 0.8 * normal(200, 1, seed=5000 + seed)
        interval = mcc(s, z, interval="bootstrap", resamples=100, generator=seed).interval
        covered += interval.low <= 0.6 <= interval.high
    assert covered / 100 > 0.95 - 4 * (0.05 * 0.95 / 100) ** 0.5


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_interval_of_rows(method):
    s = normal(300, 2)
    z = s @ torch.tensor([[1.0, 0.5], [0.2, 1.0]], dtype=torch.float64) + normal(300, 2, seed=1)
    labels = torch.arange(300) % 3
    found = mcc(s, z, method=method, interval="bootstrap", groups=labels, resamples=100, generator=0)
    again = mcc(s, z, method=method, interval="bootstrap", groups=labels, resamples=100, generator=0)
    assert found.interval == again.interval
    assert found.interval.estimate == pytest.approx(found.score, abs=1e-12)
    assert found.interval.low < found.score < found.interval.high
    wide = mcc(s, z, method=method, interval="bootstrap", level=0.99, resamples=100, generator=0).interval
    assert wide.high - wide.low > found.interval.high - found.interval.low
    held = mcc(s[:150], z[:150], method=method, test=(s[150:], z[150:]), interval="bootstrap", generator=0)
    assert held.interval.estimate == pytest.approx(held.score, abs=1e-12)


def test_interval_over_seeds():
    scores = [0.98, 0.99, 0.82, 0.98, 0.985]
    found = seed_interval(scores, generator=0)
    assert found == seed_interval(torch.tensor(scores, dtype=torch.float64), generator=0)
    assert found.estimate == pytest.approx(np.mean(scores))
    assert min(scores) <= found.low < found.estimate < found.high <= max(scores)
    every = np.array(np.meshgrid(*[scores] * 5)).reshape(5, -1).mean(0)  # all 3,125 draws
    assert found.low == pytest.approx(np.quantile(every, 0.025), abs=2e-3)
    assert found.high == pytest.approx(np.quantile(every, 0.975), abs=2e-3)
    for wrong in ([0.5], [0.5, float("nan")]):
        with pytest.raises(ValueError, match="at least 2 finite scores"):
            seed_interval(wrong)
