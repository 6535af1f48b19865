"""The loss and accuracies of a contrast: reference files, and numbers counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_icebeem import load

from logprob.distributions.contrast import balanced_accuracy, contrastive_loss, marginal_log_ratio
from logprob.distributions.contrast_report import ContrastReport, contrast_report
from logprob.distributions.label_law import LabelLaw
from logprob.distributions.noise_rows import ContrastRows


@pytest.mark.parametrize(("ratio", "name"), [(1, "nce_loss"), (4, "nce_loss_nu4")])
def test_the_loss_is_that_of_the_reference(ratio, name):
    case = load("energy")
    is_data = case["is_data"].bool()
    log_ratio = case["u_tied"] - case["log_q"]
    torch.testing.assert_close(log_ratio, case["logit"], rtol=1e-9, atol=1e-9)
    loss = contrastive_loss(log_ratio[is_data], log_ratio[~is_data], ratio, weights="rows")
    torch.testing.assert_close(loss, case[name], rtol=1e-9, atol=1e-9)


def test_summed_out_labels_are_those_of_the_reference():
    case = load("energy")
    uniform = torch.full((20,), 1 / 20, dtype=torch.float64).log()
    marginal = marginal_log_ratio(case["u_all_labels"], case["log_q"], uniform)
    torch.testing.assert_close(marginal, case["marginal_logit"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("ratio", [1, 3])
def test_as_many_rows_as_the_ratio_says_all_count_the_same(ratio):
    torch.manual_seed(0)
    data, noise = torch.randn(2, 5), torch.randn(2, 5 * ratio)
    logits = torch.cat([data, noise], -1) - np.log(ratio)
    is_data = torch.cat([torch.ones(2, 5), torch.zeros(2, 5 * ratio)], -1)
    expected = F.binary_cross_entropy_with_logits(logits, is_data, reduction="none").mean(-1)
    torch.testing.assert_close(contrastive_loss(data, noise, ratio), expected)
    torch.testing.assert_close(contrastive_loss(data, noise, ratio, weights="rows"), expected)


def test_other_numbers_of_noise_estimate_the_same_loss():
    torch.manual_seed(0)
    data, noise = torch.randn(100), torch.randn(400)
    twice = contrastive_loss(data, noise.repeat(2), ratio=4)
    torch.testing.assert_close(twice, contrastive_loss(data, noise, ratio=4))


def test_huge_logits_stay_finite():
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = contrastive_loss(far, far)
    loss.backward()
    assert loss.isfinite()
    assert far.grad.isfinite().all()


def test_accuracy_counts_both_classes_the_same():
    assert balanced_accuracy(torch.tensor([1.0]), torch.tensor([-1.0] * 9 + [1.0])).item() == pytest.approx(0.95)
    assert balanced_accuracy(torch.zeros(3), torch.zeros(7)).item() == pytest.approx(0.5)


def test_labels_tell_even_perfect_noise():
    """20 segments of 5 sources, each with its own deviations, against q(x) = p(x): the Bayes accuracy is .808.

    Its standard error here is below .003; the marginal log-ratio is zero at every row.
    """
    stream = np.random.RandomState(1)
    stream.randn(10_000, 5)
    scales = torch.from_numpy(stream.uniform(0.01, 3, (5, 20)).T.copy())  # (K, d)
    generator = torch.Generator().manual_seed(0)
    rows = 20_000

    def draw():
        labels = torch.randint(20, (rows,), generator=generator)
        return torch.randn(rows, 5, generator=generator, dtype=torch.float64) * scales[labels], labels

    def log_probs(x):
        return torch.distributions.Normal(0.0, scales).log_prob(x.unsqueeze(1)).sum(-1)  # (N, K)

    law = torch.full((20,), 1 / 20, dtype=torch.float64).log()
    x, labels = draw()
    other, _ = draw()
    wrong = torch.randint(20, (rows,), generator=generator)
    log_q = [marginal_log_ratio(log_probs(v), torch.zeros(rows), law) for v in (x, other)]
    data = log_probs(x)[torch.arange(rows), labels] - log_q[0]
    noise = log_probs(other)[torch.arange(rows), wrong] - log_q[1]
    assert balanced_accuracy(data, noise).item() == pytest.approx(0.808, abs=0.01)
    assert marginal_log_ratio(log_probs(x), log_q[0], law).abs().max() == 0


def test_a_report_is_of_rows_in_chunks_and_of_each_copy(monkeypatch):
    torch.manual_seed(0)
    potentials = torch.nn.Linear(2, 6)

    class Energy(torch.nn.Module):
        def log_potentials(self, x):
            return potentials(x).reshape(len(x), 2, 3).transpose(0, 1)  # two copies, three labels

    def rows(size):
        x = torch.randn(size, 2)
        return ContrastRows(x, torch.randint(3, (size,)), torch.randn(size))

    data, noise = rows(50), rows(70)
    law = LabelLaw(data.labels, 3)
    whole = contrast_report(Energy(), data, noise, law, ratio=2)
    monkeypatch.setattr("logprob.distributions.contrast_report.CHUNK", 8)
    parts = contrast_report(Energy(), data, noise, law, ratio=2)
    assert isinstance(whole, ContrastReport)
    for one, other in zip(whole, parts, strict=True):
        assert one.shape == (2,)
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("labels", [torch.tensor([0.0, 1.0]), torch.zeros(2, 2, dtype=torch.long)])
def test_labels_of_another_kind_are_refused(labels):
    with pytest.raises(ValueError, match="integer labels"):
        LabelLaw(labels)


def test_labels_out_of_range_and_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="from 0 to 1, got 0 to 2"):
        LabelLaw(torch.tensor([0, 2]), 2).log_probs  # noqa: B018
    with pytest.raises(ValueError, match="'uniform', got 'other'"):
        LabelLaw(torch.tensor([0, 2]), rule="other")
