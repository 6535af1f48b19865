"""Sum-of-Gamma noise against its characteristic function."""

import time

import golden_discrete
import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import loggamma

from logprob.discrete.noise import Gumbel
from logprob.discrete.sum_of_gamma import SumOfGamma, _interpolate, _table
from logprob.distributions import IntractableError

GOLDEN = golden_discrete.load("sum_of_gamma")


def seeded():
    return torch.Generator().manual_seed(0)


def distribution_function(k):
    """The inversion integral by a plain midpoint rule, interpolated between 1000 points."""
    x = np.linspace(-3.5, 12, 1000)
    h = 2 * np.pi / 40
    t = (np.arange(int(80 * k / np.pi / h)) + 0.5) * h
    phi = np.exp(loggamma(1 - 1j * t) / k)
    values = np.array([0.5 - h / np.pi * (np.exp(-1j * t * point) * phi / t).imag.sum() for point in x])
    return lambda points: np.interp(points, x, values)


@pytest.mark.parametrize("row", range(5), ids=lambda row: f"k={GOLDEN['k'][row]}")
def test_the_map_gives_the_quantiles(row) -> None:
    k = float(GOLDEN["k"][row])
    gumbel = -(-GOLDEN["quantile_levels"].log()).log()
    quantiles = _interpolate(gumbel, _table(k, torch.float64, gumbel.device))
    assert (quantiles - GOLDEN["limit_quantiles"][row]).abs().max() < 1e-5 * SumOfGamma(k).std


@pytest.mark.parametrize("k", [1, 1.5, 5, 10, 20])
def test_draws_have_the_limit_law(k) -> None:
    draws = SumOfGamma(k).sample((50_000,), generator=seeded(), dtype=torch.float64)
    assert scipy.stats.kstest(draws, distribution_function(k)).pvalue > 1e-3


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_k_numbers_sum_to_a_gumbel(k) -> None:
    sums = SumOfGamma(k).sample((400_000, k), generator=seeded()).sum(-1)
    assert sums.mean() == pytest.approx(0.577, abs=0.01)
    assert sums.var() == pytest.approx(1.645, abs=0.03)
    assert scipy.stats.kstest(sums[:50_000], scipy.stats.gumbel_r.cdf).pvalue > 1e-3


@pytest.mark.parametrize("k", [1.0001, 2, 7.5, 50, 1000])
def test_cumulants_by_quadrature(k) -> None:
    x = torch.linspace(-3.6, 40, 1_000_001, dtype=torch.float64)
    weight = Gumbel().log_prob(x).exp() * (x[1] - x[0])
    values = _interpolate(x, _table(k, torch.float64, x.device))
    mean = (weight * values).sum()
    central = [(weight * (values - mean) ** power).sum() for power in (2, 3)]
    assert [k * c.item() for c in (mean, *central)] == pytest.approx([0.5772157, 1.6449341, 2.4041138], rel=1e-4)
    assert SumOfGamma(k).mean == pytest.approx(mean.item(), rel=1e-4)
    assert SumOfGamma(k).std == pytest.approx(central[0].sqrt().item(), rel=1e-4)


@pytest.mark.parametrize("row", range(5), ids=lambda row: f"k={GOLDEN['k'][row]}")
def test_moments_of_finite_sums(row) -> None:
    k = int(GOLDEN["k"][row])
    for column, terms in enumerate(GOLDEN["s"].tolist()):
        noise = SumOfGamma(k, "gamma", terms)
        assert [noise.mean, noise.std**2] == pytest.approx(GOLDEN["cumulants"][row, column, :2].tolist(), abs=1e-9)
    assert [SumOfGamma(k).mean, SumOfGamma(k).std ** 2] == pytest.approx(GOLDEN["cumulants"][row, -1, :2].tolist())


def test_draws_of_finite_sums() -> None:
    noise = SumOfGamma(5, "gamma", terms=10)
    draws = noise.sample((100_000,), generator=seeded())
    assert draws.mean() == pytest.approx(noise.mean, abs=4 * noise.std / 100_000**0.5)
    assert draws.std() == pytest.approx(noise.std, rel=0.02)
    assert draws.min() >= -np.log(10) / 5 - 1e-6


def test_many_terms_are_the_limit() -> None:
    limit, finite = (
        SumOfGamma(10, method, 1000).sample((10_000,), generator=seeded()) for method in ("limit", "gamma")
    )
    assert scipy.stats.ks_2samp(limit, finite).pvalue > 1e-3


def test_one_number_is_a_gumbel() -> None:
    assert torch.equal(*(noise.sample((9,), generator=seeded()) for noise in (SumOfGamma(1), Gumbel())))
    x = torch.linspace(-1, 1, 3)
    assert torch.equal(SumOfGamma(1).log_prob(x), Gumbel().log_prob(x))
    assert torch.equal(SumOfGamma(1).score(x), Gumbel().score(x))


@pytest.mark.parametrize("noise", [SumOfGamma(2), SumOfGamma(1, "gamma")])
def test_no_density_in_closed_form(noise) -> None:
    for ask in (noise.log_prob, noise.score):
        with pytest.raises(IntractableError, match="closed form"):
            ask(torch.zeros(2))


@pytest.mark.parametrize("method", ["limit", "gamma"])
def test_transforms_and_precisions(method) -> None:
    noise = SumOfGamma(5, method)
    compiled = torch.compile(lambda x: x + noise.sample(x.shape), backend="aot_eager", fullgraph=True)
    assert [tuple(compiled(torch.zeros(n, 4)).shape) for n in (3, 5)] == [(3, 4), (5, 4)]
    mapped = torch.vmap(lambda x: x + noise.sample((3,)), randomness="different")(torch.zeros(4))
    assert mapped.unique().numel() == 12
    half = noise.sample((100,), generator=seeded(), dtype=torch.bfloat16)
    assert torch.equal(half, noise.sample((100,), generator=seeded(), dtype=torch.float32).bfloat16())


def test_a_first_draw_inside_a_transform_leaves_nothing_behind() -> None:
    noise = SumOfGamma(6.25)  # of which no other test has made the table
    torch.func.grad(lambda x: (noise.sample((3,)) * x).sum())(torch.tensor(1.0))
    x = torch.zeros(3, requires_grad=True)
    (noise.sample((3,)) * x).sum().backward()
    assert x.grad.isfinite().all()


def test_the_map_takes_a_third_of_the_sum_at_most() -> None:
    fast, slow = SumOfGamma(10), SumOfGamma(10, "gamma", 10)

    def seconds(noise, calls):
        noise.sample((128, 350))
        start = time.process_time()
        for _ in range(calls):
            noise.sample((128, 350))
        return (time.process_time() - start) / calls

    assert seconds(fast, 30) < seconds(slow, 5) / 3


@pytest.mark.parametrize("arguments", [(0.5,), (float("inf"),), (2, "gamma", 0), (2, "table")])
def test_settings_are_checked(arguments) -> None:
    with pytest.raises(ValueError, match=r"expected|must be"):
        SumOfGamma(*arguments)
