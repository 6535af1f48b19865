"""Category probabilities: reference files, sampling, derivatives, extremes."""

from __future__ import annotations

import itertools
import math

import golden_simplex
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from logprob.simplex import category_derivatives
from logprob.simplex.category_mesh import Rule
from logprob.simplex.category_probs import category_log_probs
from logprob.simplex.category_quadrature import Gaussians, integrate

DOUBLE = torch.float64
SPREAD = (5.0, 0.02, 0.02, 0.1, 2.0)


def random_law(variables, n, ratio=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    loc = torch.randn(variables, n, dtype=DOUBLE, generator=generator)
    scale = ((torch.rand(variables, n, dtype=DOUBLE, generator=generator) - 0.5) * math.log(ratio)).exp()
    return loc, scale


def columns(loc, scale, threshold):
    return Gaussians(loc.T.contiguous(), scale.T.contiguous(), threshold)


def by_quad(loc, scale, threshold):
    """One adaptive integral for each category, between the corners of its integrand."""
    loc, scale = loc.tolist(), scale.tolist()

    def density(t, k):
        others = [norm.cdf((t - m) / s) for j, (m, s) in enumerate(zip(loc, scale, strict=True)) if j != k]
        return norm.pdf(t, loc[k], scale[k]) * math.prod(others)

    ends = [m + a * s for m, s in zip(loc, scale, strict=True) for a in (-9, -3, 0, 3, 9)]
    knots = sorted({threshold, *(e for e in ends if e > threshold)})
    pairs = list(itertools.pairwise(knots))
    return [sum(quad(density, a, b, (k,), epsabs=1e-13)[0] for a, b in pairs) for k in range(len(loc))]


@pytest.mark.parametrize(("tolerance", "within"), [(1e-12, 1e-12), (1e-6, 6e-7)])
def test_reference_file(tolerance, within):
    file = golden_simplex.load("category_probs")
    for i, categories in enumerate(file["categories"].tolist()):
        loc, scale = file["loc"][i, : categories - 1], file["scale"][i, : categories - 1]
        probs = category_log_probs(loc, scale, file["threshold"][i], tolerance).exp()
        assert (probs - file["probs"][i, :categories]).abs().max() < within


def test_mixed_scales_against_adaptive_integrals():
    loc = torch.randn(5, dtype=DOUBLE)
    probs = category_log_probs(loc, torch.tensor(SPREAD, dtype=DOUBLE), -0.3).exp()
    assert probs[:-1].tolist() == pytest.approx(by_quad(loc, torch.tensor(SPREAD), -0.3), abs=1e-10)


def test_frequencies_of_samples():
    """Chi-square of 1e5 draws over 6 categories; false alarms 1e-4."""
    loc, scale = random_law(1, 5, ratio=30)
    probs = category_log_probs(loc[0], scale[0], 0.2).exp()
    draws = loc + scale * torch.randn(100_000, 5, dtype=DOUBLE)
    counts = torch.nn.functional.pad(draws, (0, 1), value=0.2).argmax(-1).bincount(minlength=6)
    assert ((counts - 1e5 * probs).square() / (1e5 * probs)).sum() < 25.7


@pytest.mark.parametrize("n", [1, 9, 40])
@pytest.mark.parametrize("spread", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("ratio", [1.0, 3.0, 100.0])
def test_error_is_what_the_docstring_says(n, spread, ratio):
    loc, scale = random_law(60, n, ratio)
    gaussians = columns(spread * loc, scale, torch.linspace(-8, 1, 60, dtype=DOUBLE))
    truth = integrate(gaussians, Rule(9.0, 1.0, 20, alarm=1e-10), False).log_probs.T.exp()
    for tolerance in (1e-12, 1e-6):
        probs = category_log_probs(spread * loc, scale, gaussians.threshold, tolerance).exp()
        assert (probs - truth).abs().max() < tolerance
    single = category_log_probs((spread * loc).float(), scale.float(), gaussians.threshold.float(), 1e-6).exp()
    assert (single - truth).abs().max() < 3e-6  # of which the rounding of the parameters is a part


def test_many_equal_gaussians():
    probs = category_log_probs(torch.zeros(999, dtype=DOUBLE), torch.ones(999, dtype=DOUBLE), -9.0)
    assert (probs[:-1].exp() - 1 / 999).abs().max() < 1e-13


def test_binary_is_a_normal_distribution_function():
    loc = torch.tensor([[-3.0], [0.0], [2.0]], dtype=DOUBLE)
    log_probs = category_log_probs(loc, torch.full((3, 1), 0.7, dtype=DOUBLE), 0.1)
    z = (loc - 0.1) / 0.7
    truth = torch.special.log_ndtr(torch.cat([z, -z], -1))
    assert torch.allclose(log_probs, truth, rtol=0, atol=1e-11)


@pytest.mark.parametrize("z", [-20.0, -40.0, -1000.0])
def test_logarithms_of_tails(z):
    log_probs = category_log_probs(torch.tensor([z], dtype=DOUBLE), torch.ones(1, dtype=DOUBLE))
    assert log_probs[0].item() == pytest.approx(norm.logcdf(z), rel=1e-3)
    assert log_probs[1].item() == pytest.approx(norm.logsf(z), abs=1e-15)
    mirrored = category_log_probs(torch.tensor([-z], dtype=DOUBLE), torch.ones(1, dtype=DOUBLE))
    assert mirrored[1].item() == pytest.approx(norm.logcdf(z), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("tolerance", [1e-12, 1e-6])
def test_extremes_are_finite_with_their_gradients(dtype, tolerance):
    loc = torch.tensor([[0, 0, 0], [1e3, -1e3, 0], [-50, -60, -40], [300, 300, 300], [0, 1, 2]], dtype=dtype)
    scale = torch.tensor([[1, 1e-6, 1e3], [1, 1, 1], [1, 0.1, 2], [1, 2, 3], [1e-3, 1e-3, 1e-3]], dtype=dtype)
    for threshold in (0.0, -30.0, 40.0):
        parameters = loc.clone().requires_grad_(), scale.clone().requires_grad_()
        log_probs = category_log_probs(*parameters, threshold, tolerance)
        assert log_probs.isfinite().all()
        assert (log_probs.exp().sum(-1) - 1).abs().max() < 1e-5
        (log_probs.exp() * log_probs).sum().backward()
        assert all(p.grad.isfinite().all() for p in parameters)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("threshold", [-20.0, 0.3])
def test_derivatives_of_first_and_second_order(n, threshold):
    loc, scale = (x.requires_grad_() for x in random_law(2, n))
    level = torch.full((2,), threshold, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(category_log_probs, (loc, scale, level))
    assert torch.autograd.gradgradcheck(category_log_probs, (loc, scale, level))


def test_coarse_gradient_is_that_of_the_exact_rule():
    def gradients(tolerance, dtype):
        loc, scale = (x.to(dtype).requires_grad_() for x in random_law(200, 9, 10))
        log_probs = category_log_probs(loc, scale, 0.0, tolerance)
        (log_probs * log_probs.exp()).sum().backward()
        return torch.cat([loc.grad, scale.grad]).double()

    exact = gradients(1e-12, DOUBLE)
    assert (gradients(1e-6, DOUBLE) - exact).abs().max() < 1e-5
    assert (gradients(1e-6, torch.float32) - exact).abs().max() < 5e-5


def test_gradients_do_not_depend_on_what_was_kept(monkeypatch):
    loc, scale = (x.requires_grad_() for x in random_law(50, 4, 100))
    weight = torch.randn(50, 5, dtype=DOUBLE)

    def gradients():
        return torch.autograd.grad((weight * category_log_probs(loc, scale)).sum(), (loc, scale))

    kept = gradients()
    monkeypatch.setattr(category_derivatives, "KEPT", 2000)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-13) for a, b in zip(gradients(), kept, strict=True))


def test_the_alarm_calls_for_finer_panels():
    gaussians = columns(*random_law(30, 9, 10), torch.zeros(30, dtype=DOUBLE))
    poor, blind = (Rule(8.3, 16.0, 20, alarm) for alarm in (1e-10, torch.inf))
    unseen, mended, truth = (integrate(gaussians, rule, True) for rule in (blind, poor, poor.finer()))
    assert (unseen.log_probs.exp() - truth.log_probs.exp()).abs().max() > 1e-9
    assert (mended.log_probs.exp() - truth.log_probs.exp()).abs().max() < 1e-9
    weight = torch.rand(10, 30, dtype=DOUBLE)
    pulled = [category_derivatives.pull_back(weight, gaussians, integral) for integral in (mended, truth)]
    assert all((a - b).abs().max() < 1e-6 for a, b in zip(*pulled, strict=True))


def test_shapes_types_and_empty_batches():
    assert category_log_probs(torch.zeros(2), torch.ones(2)).shape == (3,)
    assert category_log_probs(torch.zeros(4, 1, 2), torch.ones(2), torch.zeros(4, 5)).shape == (4, 5, 3)
    assert category_log_probs(torch.zeros(0, 2), torch.ones(2)).shape == (0, 3)
    for dtype in (torch.float16, torch.bfloat16):
        half = category_log_probs(torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype), tolerance=1e-6)
        assert half.dtype == dtype
    empty = torch.zeros(0, 2, requires_grad=True)
    category_log_probs(empty, torch.ones(2)).sum().backward()
    assert empty.grad.shape == (0, 2)


def test_nan_is_not_hidden():
    loc = torch.tensor([[0.0, torch.nan], [torch.inf, 0.0], [0.0, 0.0]], requires_grad=True)
    log_probs = category_log_probs(loc, torch.ones(2))
    assert log_probs[:2].isnan().all()
    assert log_probs[2].isfinite().all()
    log_probs.sum().backward()
    assert loc.grad[0].isnan().any()
    assert loc.grad[2].isfinite().all()


def test_errors_name_what_came():
    with pytest.raises(ValueError, match=r"K >= 2, got \(3, 0\)"):
        category_log_probs(torch.zeros(3, 0), torch.ones(3, 0))
    with pytest.raises(ValueError, match="expected scale > 0, got -1"):
        category_log_probs(torch.zeros(2), torch.tensor([1.0, -1.0]))


def test_vmap_and_functional_gradients():
    loc, scale = random_law(6, 3)
    level = torch.randn(6, dtype=DOUBLE)
    each = torch.stack([category_log_probs(*row) for row in zip(loc, scale, level, strict=True)])
    assert torch.allclose(torch.vmap(category_log_probs)(loc, scale, level), each, rtol=0, atol=1e-14)
    assert torch.vmap(category_log_probs, (None, 0, None))(loc[0], scale, 0.1).shape == (6, 4)
    rows = torch.func.vmap(torch.func.jacrev(category_log_probs, (0, 1, 2)))(loc, scale, level)
    row = torch.autograd.functional.jacobian(category_log_probs, (loc[2], scale[2], level[2]))
    assert all(torch.allclose(a[2], b, rtol=0, atol=1e-13) for a, b in zip(rows, row, strict=True))


@pytest.mark.filterwarnings("ignore")
def test_compiled_code_calls_it():
    def mean(loc, scale):
        return (category_log_probs(2 * loc, scale.exp()).exp() * torch.arange(4.0)).sum()

    parameters = torch.randn(5, 3, requires_grad=True), torch.zeros(5, 3, requires_grad=True)
    torch.compiler.reset()
    compiled = torch.compile(mean, backend="eager")(*parameters)
    assert compiled.item() == pytest.approx(mean(*parameters).item())
    slopes = (torch.autograd.grad(value, parameters) for value in (compiled, mean(*parameters)))
    assert all(torch.allclose(a, b) for a, b in zip(*slopes, strict=True))
