"""The countable law: the maximum does not matter, masses of its strata, divergences, the contract of a relaxed law."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from torch.distributions import Independent, kl_divergence

from logprob.distributions import IntractableError, log_ratio
from logprob.simplex.stick_breaking import StickBreaking, sticks
from logprob.simplex.stick_breaking_gaussian import StickBreakingGaussian
from logprob.simplex.stick_noise import StickTail
from logprob.simplex.truncation import PerSampleTruncation, QuantileTruncation

DOUBLE = torch.float64


def law(*batch, sticks=49, temperature=0.5, delta=1.0, dtype=torch.float32, spread=0.3, **options):
    loc, log_scale = spread * torch.randn(2, *batch, sticks, dtype=dtype)
    return StickBreakingGaussian(loc, log_scale, temperature, delta, **options)


def test_same_samples_whatever_the_maximum():
    loc, log_scale = 0.3 * torch.randn(2, 64, 20, 499)
    short, long = (StickBreakingGaussian(loc[..., :n], log_scale[..., :n], 0.15) for n in (49, 499))
    tail = StickBreakingGaussian(loc[..., :49], log_scale[..., :49], 0.15, tail=StickTail(10_000))
    drawn = []
    for q in (short, long, tail):
        torch.manual_seed(3)
        noise = q.draw_noise((2,))
        torch.manual_seed(3)
        psi = q.rsample((2,))
        assert noise.shape[-1] < 49
        assert not psi[..., 49:].any()
        drawn.append((psi[..., :50], noise, q.kept(noise), torch.rand(1)))
    for other in drawn[1:]:
        for a, b in zip(drawn[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_every_sample_keeps_its_own_number():
    q = law(8, 5, dtype=DOUBLE, delta=1.3, truncation=PerSampleTruncation(0.95))
    noise = q.draw_noise((200,))
    psi, count = q.scores(noise).div(0.5).softmax(-1), q.kept(noise)
    pieces = StickBreaking()(q.noise.value(noise))
    place = torch.arange(pieces.shape[-1])
    assert ((pieces * (place < count.unsqueeze(-1))).sum(-1) > 0.95).all()
    assert count.unique().numel() > 3
    for index in ((0, 0, 0), (7, 3, 2), (199, 7, 4)):
        kept = pieces[index][: count[index]]
        expected = torch.cat([kept / 0.5, torch.tensor([1.3], dtype=DOUBLE).log()]).softmax(-1)
        torch.testing.assert_close(psi[index][: count[index] + 1], expected)
        assert not psi[index][count[index] + 1 :].any()


def test_samples_are_the_softmax_of_scores():
    for truncation in (PerSampleTruncation(), QuantileTruncation(0.9, 70)):
        q = law(6, 4, temperature=0.3, delta=2.0, truncation=truncation)
        torch.manual_seed(1)
        psi = q.rsample((3,))
        torch.manual_seed(1)
        log_psi = q.rsample_log((3,))
        torch.manual_seed(1)
        scores = q.scores(q.draw_noise((3,)))
        assert psi.shape == (3, 6, 4, 50) == scores.shape
        torch.testing.assert_close(psi, (scores / 0.3).softmax(-1))
        torch.testing.assert_close(log_psi, (scores / 0.3).log_softmax(-1))


def test_the_quantile_is_common_to_all_samples():
    q = law(6, 4, truncation=QuantileTruncation(0.9, 50))
    psi = q.rsample((10,))
    assert (psi > 0).sum(-1).unique().numel() == 1
    assert q.draw_noise().shape == (6, 4, 49)  # the published code draws every stick


def stratum(q, count, points):
    """Mass of the vectors with ``count + 1`` positive entries, by a midpoint sum over their log-ratios."""
    middle = (torch.arange(points, dtype=DOUBLE) + 0.5) / (points * q.temperature)
    total = 0.0
    for first in middle.split(max(1, 400_000 // points ** (count - 1))):
        u = torch.cartesian_prod(first, *[middle] * (count - 1)).reshape(-1, count)
        u = u[u.sum(-1) < 1 / q.temperature] - q.delta.log()
        log_psi = torch.cat(
            [u, torch.zeros(len(u), 1), torch.full((len(u), q.event_shape[0] - count - 1), -torch.inf)], -1
        )
        log_psi = log_psi.log_softmax(-1)
        total += (q.log_prob(log_psi.exp()) + log_psi[:, : count + 1].sum(-1)).exp().sum()
    return (total / (points * q.temperature) ** count).item()


def test_masses_of_the_strata():
    """Their shares of 20 000 samples are off by at most 5 standard errors, 0.02; and the density has the mass 1."""
    q = law(sticks=3, temperature=0.7, delta=1.4, dtype=DOUBLE, truncation=PerSampleTruncation(0.6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three sticks are not always enough
        count = q.kept(q.draw_noise((20_000,)))
    masses = [stratum(q, r, points) for r, points in ((1, 20_000), (2, 1000), (3, 150))]
    for r, got in enumerate(masses, start=1):
        assert got == pytest.approx((count == r).double().mean().item(), abs=0.02)
    assert sum(masses) == pytest.approx(1, abs=3e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_own_samples_have_finite_densities(temperature):
    loc, log_scale = torch.randn(2, 30, 20, 49)
    q = StickBreakingGaussian(loc.requires_grad_(), (0.3 * log_scale).requires_grad_(), temperature)
    psi = q.rsample()
    total = q.log_prob(psi)
    assert total.isfinite().all()
    gradients = torch.autograd.grad(total.sum() + (psi * torch.randn_like(psi)).sum(), [q.loc, q.log_scale])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert q.log_prob_log(q.rsample_log()).isfinite().all()


def test_foreign_values_agree_with_own_samples():
    q = law(6, 4, dtype=DOUBLE, delta=1.2)
    psi = q.rsample((5,))
    own = q.log_prob(psi)
    torch.testing.assert_close(q.log_prob(psi.clone()), own, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(q.log_prob_log(psi.log()), own + first_logs(psi), rtol=1e-7, atol=1e-7)
    assert q.support.check(psi).all()


def first_logs(psi):
    """Sum of the logarithms of all positive entries but the last."""
    filled = psi > 0
    count = filled.sum(-1, keepdim=True)
    logs = torch.where(filled, psi, 1.0).log()
    return logs.sum(-1) - logs.gather(-1, count - 1).squeeze(-1)


def test_values_outside_of_the_support():
    q = law(sticks=4, dtype=DOUBLE, temperature=1.0, validate_args=True)
    values = torch.tensor(
        [
            [0.5, 0.5, 0.0, 0.0, 0.0],  # a piece of length 0
            [0.1, 0.9, 0.0, 0.0, 0.0],  # a negative piece
            [0.6, 0.0, 0.4, 0.0, 0.0],  # a gap
            [1.0, 0.0, 0.0, 0.0, 0.0],  # no end
            [0.55, 0.45, 0.0, 0.0, 0.0],  # a piece of 0.2 alone is not enough to stop at
            [0.2, 0.2, 0.2, 0.2, 0.2],
        ],
        dtype=DOUBLE,
        requires_grad=True,
    )
    log_prob = q.log_prob(values)
    assert (log_prob == -torch.inf).all()
    log_prob.sum().backward()
    assert not values.grad.isnan().any()
    assert not q.support.check(values).any()
    with pytest.raises(ValueError, match=r"expected points of the simplex, got \[0.5, 0.6"):
        q.log_prob(torch.tensor([0.5, 0.6, 0.0, 0.0, 0.0], dtype=DOUBLE))


def test_closed_divergence_is_that_of_all_sticks():
    q, p = law(6, 4, dtype=DOUBLE), law(4, dtype=DOUBLE)
    expected = kl_divergence(q.base, p.base)
    torch.testing.assert_close(kl_divergence(q, p), expected)
    torch.testing.assert_close(kl_divergence(Independent(q, 1), Independent(p.expand((6, 4)), 1)), expected.sum(-1))


def test_divergence_of_tails():
    tail = StickTail(40, 0.2, 1.5)
    q, p = law(6, sticks=9, dtype=DOUBLE, tail=tail), law(sticks=5, dtype=DOUBLE, tail=StickTail(44, 0.2, 1.5))
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(q.base, p.base))
    other = law(sticks=5, dtype=DOUBLE, tail=StickTail(44, -0.3, 0.9))
    torch.testing.assert_close(kl_divergence(q, other), kl_divergence(q.base, other.base))


@pytest.mark.parametrize("landing", [False, True], ids=["", "stick the landing"])
def test_mean_log_ratio_is_the_divergence_of_the_kept_sticks(landing):
    """``sum_k P(R >= k) KL_k``, as R >= k hangs on the sticks before k; 4.5 standard errors: alarms 1 in 10^5."""
    q, p = law(2, dtype=DOUBLE, spread=0.7), law(dtype=DOUBLE, spread=0.7)
    psi = q.rsample((40_000,))
    ratio = log_ratio(q, p, psi, stick_the_landing=landing)
    noise = q._recall(psi, q._tensors)
    each = kl_divergence(q.base.base_dist, p.base.base_dist)[..., : noise.shape[-1]]
    kept = torch.arange(noise.shape[-1]) < q.kept(noise).unsqueeze(-1)
    difference = ratio - (kept * each).sum(-1)
    assert (difference.mean(0).abs() < 4.5 * difference.std(0) / 200).all()
    assert ((kept * each).sum(-1).mean(0) < kl_divergence(q, p)).all()


def test_log_ratio_is_a_difference_of_densities():
    q, p = law(6, 4, dtype=DOUBLE), law(4, dtype=DOUBLE)
    psi = q.rsample((3,))
    torch.testing.assert_close(q.log_ratio(p, psi), q.log_prob(psi) - p.log_prob(psi), rtol=1e-6, atol=1e-6)


def test_sticking_the_landing():
    """With q equal to p the gradient vanishes sample by sample."""
    loc = torch.randn(9, dtype=DOUBLE, requires_grad=True)
    q, p = (StickBreakingGaussian(x, 0.0, truncation=PerSampleTruncation(0.5)) for x in (loc, loc.detach()))
    ratio = q.log_ratio(p, q.rsample((7,)), stick_the_landing=True)
    (gradient,) = torch.autograd.grad(ratio.sum(), loc)
    assert gradient.abs().max() < 1e-12


def test_samples_that_are_truncated_together_have_no_density():
    q, p = (law(6, 4, truncation=QuantileTruncation(), dtype=DOUBLE) for _ in range(2))
    psi = q.rsample((4000,))
    for call in (q.log_prob, q.log_prob_log):
        with pytest.raises(IntractableError, match="PerSampleTruncation"):
            call(psi)
    ratio = q.log_ratio(p, psi)  # of all the sticks; 24 means, alarms 1 in 10^5
    assert ((ratio.mean(0) - kl_divergence(q, p)).abs() < 5 * ratio.std(0) / 4000**0.5).all()
    with pytest.raises(IntractableError, match="kl_divergence"):
        q.log_ratio(p, psi.clone())


def test_laws_that_share_no_map():
    q = law(sticks=9)
    others = [
        law(sticks=9, temperature=0.4),
        law(sticks=9, delta=2.0),
        law(sticks=8),
        law(sticks=9, truncation=PerSampleTruncation(0.8)),
    ]
    for other in others:
        with pytest.raises(IntractableError, match="supports differ"):
            kl_divergence(q, other)
    with pytest.raises(NotImplementedError, match="supports differ"):
        q.log_ratio(others[0], q.rsample())


def test_what_is_not_known_in_closed_form():
    q = law(sticks=9)
    for call in (lambda: q.probs, lambda: q.mode, lambda: q.to_categorical(), lambda: q.logits):
        with pytest.raises(IntractableError, match="sampled_probs"):
            call()
    for call in (lambda: q.mean, lambda: q.entropy(), lambda: q.noise_given(torch.zeros(10))):
        with pytest.raises(IntractableError):
            call()


def test_sampled_probabilities_and_mean_sticks():
    """Frequencies of 20 000 samples within 5 standard errors of those of another 20 000; means likewise."""
    q = law(3, sticks=6, dtype=DOUBLE, temperature=0.05, tail=StickTail(30))
    probs = q.sampled_probs(20_000)
    again = q.sampled_probs(20_000)
    assert probs.shape == (3, 37)
    torch.testing.assert_close(probs.sum(-1), torch.ones(3, dtype=DOUBLE))
    assert ((probs - again).abs() <= 5 * (2 * probs * (1 - probs) / 20_000).sqrt() + 1e-3).all()
    y = q.base.sample((20_000,))
    pieces = sticks(y.sigmoid())
    assert ((pieces.mean(0) - q.mean_sticks).abs() <= 5 * pieces.std(0) / 20_000**0.5).all()


def test_estimators_take_the_parameters():
    q = law(6, 4, delta=1.5)
    again = q.with_parameters(*(part[2:] for part in q.parameters()))
    assert again.batch_shape == (4, 4)
    torch.testing.assert_close(again.mean_sticks, q.mean_sticks[2:])
    hard = q.straight_through((3,))
    assert ((hard == 0) | (hard == 1)).all()
    assert q.sampled_mean(10).shape == (6, 4, 50)


def test_gradients():
    loc, log_scale = (0.3 * torch.randn(2, 9, dtype=DOUBLE, requires_grad=True) for _ in range(2))
    temperature = torch.tensor([0.5, 0.7], dtype=DOUBLE, requires_grad=True)
    delta = torch.tensor(1.3, dtype=DOUBLE, requires_grad=True)

    def values(*parameters):
        torch.manual_seed(0)
        q = StickBreakingGaussian(*parameters, truncation=PerSampleTruncation(0.7), tail=StickTail(20))
        psi = q.rsample((2,))
        return psi, q.log_prob(psi), kl_divergence(q, q.expand((2,)))

    assert torch.autograd.gradcheck(values, (loc, log_scale, temperature, delta))


def test_warns_where_the_maximum_is_too_small():
    q = StickBreakingGaussian(torch.full((200, 5), -1.0), 0.0, temperature=0.1)
    with pytest.warns(UserWarning, match="of the samples keep all 5 pieces"):
        psi = q.rsample()
    assert (psi.sum(-1) - 1).abs().max() < 1e-5


def test_shapes_and_copies():
    q = law(6, 4, temperature=torch.full((4,), 0.5), delta=torch.ones(6, 4, 1))
    assert (q.batch_shape, q.event_shape, q.threshold.shape) == ((6, 4), (50,), (6, 4))
    assert q.log_prob(q.rsample((2,))).shape == (2, 6, 4)
    wide = q.expand((3, 6, 4))
    assert wide.rsample((2,)).shape == (2, 3, 6, 4, 50)
    torch.testing.assert_close(kl_divergence(wide, q), torch.zeros(3, 6, 4))
    psi = q.sample()
    for other in (copy.deepcopy(q), pickle.loads(pickle.dumps(q))):
        torch.testing.assert_close(other.log_prob(psi), q.log_prob(psi.clone()))
    empty = StickBreakingGaussian(torch.zeros(0, 9), 0.0)
    assert empty.rsample((2,)).shape == (2, 0, 10)
    assert kl_divergence(empty, empty).shape == (0,)
    assert StickBreakingGaussian(torch.zeros(40), scale=1.0).rsample().shape == (41,)


def test_half_precision():
    q = StickBreakingGaussian(torch.zeros(4, 49, dtype=torch.bfloat16), 0.0, 0.1)
    psi = q.rsample()
    assert psi.dtype == torch.bfloat16
    assert q.log_prob(psi).dtype == torch.float32


def test_errors_name_the_value():
    with pytest.raises(ValueError, match=r"temperature to be positive and finite, got 0\.0"):
        StickBreakingGaussian(torch.zeros(3), 0.0, 0.0, validate_args=True)
    with pytest.raises(ValueError, match=r"scale to be positive and finite, got -1\.0"):
        StickBreakingGaussian(torch.zeros(3), scale=-1.0, validate_args=True)
    with pytest.raises(ValueError, match="got both"):
        StickBreakingGaussian(torch.zeros(3), 0.0, scale=1.0)
    with pytest.raises(ValueError, match="got neither"):
        StickBreakingGaussian(torch.zeros(3))
    with pytest.raises(ValueError, match=r"got \(0,\)"):
        StickBreakingGaussian(torch.zeros(0), 0.0)
    with pytest.raises(ValueError, match="sticks >= 0"):
        StickTail(-1)
