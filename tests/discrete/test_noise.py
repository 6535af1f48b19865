"""Noise against SciPy."""

import pickle

import pytest
import scipy.stats
import torch

from logprob.discrete.noise import EULER, Gumbel, Logistic, Noise, Normal

LAWS = {
    "Gumbel": (Gumbel(), scipy.stats.gumbel_r()),
    "centred Gumbel": (Gumbel(centred=True), scipy.stats.gumbel_r(-EULER)),
    "Normal": (Normal(), scipy.stats.norm()),
    "Logistic": (Logistic(), scipy.stats.logistic()),
}
laws = pytest.mark.parametrize(("noise", "law"), LAWS.values(), ids=LAWS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@laws
def test_draws_have_the_law(noise: Noise, law) -> None:
    draws = noise.sample((50_000,), generator=seeded(), dtype=torch.float64)
    assert scipy.stats.kstest(draws, law.cdf).pvalue > 1e-3
    assert noise.mean == pytest.approx(law.mean(), abs=1e-12)
    assert noise.std == pytest.approx(law.std())


@laws
def test_density_and_score(noise: Noise, law) -> None:
    x = torch.linspace(-4, 9, 60, dtype=torch.float64, requires_grad=True)
    log_prob = noise.log_prob(x)
    torch.testing.assert_close(log_prob.detach(), torch.from_numpy(law.logpdf(x.detach())))
    (gradient,) = torch.autograd.grad(log_prob.sum(), x)
    torch.testing.assert_close(noise.score(x).detach(), -gradient)


@laws
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_drawn_in_float32(noise: Noise, law, dtype) -> None:
    half, single = (noise.sample((1000,), generator=seeded(), dtype=d) for d in (dtype, torch.float32))
    assert half.dtype == dtype
    assert torch.equal(half, single.to(dtype))


@laws
@pytest.mark.parametrize("u", [0.0, 1 - 2**-24])
def test_the_ends_of_the_unit_interval_are_finite(noise: Noise, law, u, monkeypatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, dtype, device: torch.full(shape, u, dtype=dtype))
    assert noise.sample((3,)).isfinite().all()


@laws
def test_a_generator_repeats_the_draws(noise: Noise, law) -> None:
    draws = [noise.sample((4, 5), generator=seeded(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@laws
def test_transforms_of_functions(noise: Noise, law) -> None:
    compiled = torch.compile(lambda x: x + noise.sample(x.shape), backend="aot_eager", fullgraph=True)
    assert [tuple(compiled(torch.zeros(n, 4)).shape) for n in (3, 5, 7)] == [(3, 4), (5, 4), (7, 4)]
    mapped = torch.vmap(lambda x: x + noise.sample((3,)), randomness="different")(torch.zeros(4))
    assert mapped.unique().numel() == 12


@laws
def test_symmetry_is_that_of_the_density(noise: Noise, law) -> None:
    x = torch.linspace(-3, 3, 7)
    assert noise.symmetric == torch.allclose(noise.log_prob(x), noise.log_prob(-x))


@laws
def test_noise_is_a_value(noise: Noise, law) -> None:
    assert pickle.loads(pickle.dumps(noise)) == noise
    assert len({noise, noise}) == 1
