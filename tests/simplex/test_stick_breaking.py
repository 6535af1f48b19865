"""Stick breaking, plain and in logarithms: reference values, Jacobians, inverses, gradients, mass, and long sticks."""

from __future__ import annotations

import copy
import pickle

import golden_simplex
import pytest
import torch
import torch.nn.functional as F

from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.planar import Planar
from logprob.simplex.stick_breaking import LogStickBreaking, StickBreaking, below_simplex, left_over, log_sticks, sticks
from logprob.testing import check_transform

DOUBLE = torch.float64
MAPS = {"pieces": StickBreaking(), "logarithms": LogStickBreaking()}
EACH = pytest.mark.parametrize("name", MAPS)


def unfused(name, y):
    """The formulas, by autograd."""
    v = y.sigmoid()
    rest = F.pad((1 - v).cumprod(-1), (1, 0), value=1.0)
    pieces = v * rest[..., :-1]
    return pieces if name == "pieces" else pieces.log() - rest[..., -1:].log()


def test_pieces_of_the_reference_file():
    golden = golden_simplex.load("stick_breaking")
    y, expected = golden["y"], golden["sticks"]
    pieces, ladj = StickBreaking().call_and_ladj(y)
    torch.testing.assert_close(pieces, expected[..., :-1], rtol=0, atol=1e-12)
    torch.testing.assert_close(ladj, golden["logdet_sticks"], rtol=0, atol=1e-10)
    torch.testing.assert_close(sticks(y.sigmoid()), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(log_sticks(F.logsigmoid(y), F.logsigmoid(-y)), expected.log(), rtol=0, atol=1e-12)


@EACH
def test_densities_of_the_reference_file(name):
    golden = golden_simplex.load("stick_breaking")
    key = "log_prob" if name == "pieces" else "log_sticks_log_prob"
    for temperature, expected in zip(golden["temperatures"], golden[key], strict=True):
        q = InvertibleGaussian(golden["loc"], golden["log_scale"], temperature, transform=MAPS[name])
        l, ladj = MAPS[name].call_and_ladj(golden["y"])
        log_psi = F.pad(l / temperature, (0, 1)).log_softmax(-1)
        base = q.base.log_prob(golden["y"])
        got = base - ladj + 4 * temperature.log() - log_psi.sum(-1)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-10)


def test_logarithms_of_the_reference_file():
    golden = golden_simplex.load("stick_breaking")
    l, ladj = LogStickBreaking().call_and_ladj(golden["y"])
    for temperature, expected in zip(golden["temperatures"], golden["log_sticks_log_psi"], strict=True):
        torch.testing.assert_close(F.pad(l / temperature, (0, 1)).log_softmax(-1), expected, rtol=1e-12, atol=1e-12)
    assert not ladj.any()


@EACH
def test_is_a_transform(name):
    check_transform(MAPS[name], torch.randn(6, 5, dtype=DOUBLE), tolerance=1e-10)


@EACH
def test_log_determinant_is_that_of_autograd(name):
    y = golden_simplex.load("stick_breaking")["y"].reshape(-1, 4)
    for row, ladj in zip(y, MAPS[name].call_and_ladj(y)[1], strict=True):
        expected = torch.linalg.slogdet(torch.func.jacrev(lambda x: unfused(name, x))(row))[1]
        torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-10)


@EACH
def test_log_determinant_through_the_softmax(name):
    y = golden_simplex.load("stick_breaking")["y"].reshape(-1, 4)
    for temperature in (2.0, 1.0, 0.5):

        def psi(x, temperature=temperature):
            return F.pad(unfused(name, x) / temperature, (0, 1)).softmax(-1)[..., :-1]

        for row in y:
            l, ladj = MAPS[name].call_and_ladj(row)
            log_psi = F.pad(l / temperature, (0, 1)).log_softmax(-1)
            got = ladj - 4 * torch.tensor(temperature, dtype=DOUBLE).log() + log_psi.sum()
            torch.testing.assert_close(got, torch.linalg.slogdet(torch.func.jacrev(psi)(row))[1], rtol=0, atol=1e-8)


@EACH
def test_derivatives_of_both_orders(name):
    y = torch.randn(3, 4, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(MAPS[name].call_and_ladj, y)
    assert torch.autograd.gradgradcheck(MAPS[name], y)
    l = MAPS[name](y).detach().requires_grad_()
    assert torch.autograd.gradcheck(MAPS[name].inv, l)
    weights = torch.randn(3, 4, dtype=DOUBLE)
    got, expected = ((weights * f(y)).sum() for f in (MAPS[name], lambda x: unfused(name, x)))
    for a, b in zip(torch.autograd.grad(got, y), torch.autograd.grad(expected, y), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@EACH
def test_copies_shapes_vmap_and_compile(name):
    f, y = MAPS[name], torch.randn(2, 3, 4)
    assert pickle.loads(pickle.dumps(f)) == f == copy.deepcopy(f) == f.with_cache()
    assert StickBreaking() != LogStickBreaking()
    torch.testing.assert_close(torch.func.vmap(torch.func.vmap(f))(y), f(y))
    wide = y[0, 0].expand(5, 4)
    torch.testing.assert_close(f(wide)[3], f(y[0, 0]))
    compiled = torch.compile(lambda x: f.call_and_ladj(x), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(y), f.call_and_ladj(y))
    assert f(y[:0]).shape == (0, 3, 4)


@EACH
def test_five_hundred_sticks_in_single_precision(name):
    y = (2 * torch.randn(50, 499)).requires_grad_()
    value, ladj = MAPS[name].call_and_ladj(y)
    exact = [part.float() for part in MAPS[name].call_and_ladj(y.double())]
    torch.testing.assert_close(value, exact[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ladj, exact[1], rtol=1e-6, atol=1e-3)
    (gradient,) = torch.autograd.grad(value.sum() + 1e-3 * ladj.sum(), y)
    assert gradient.isfinite().all()
    # No rounding of the first pieces may reach the sticks that have no mass left.
    (gradient,) = torch.autograd.grad((MAPS["pieces"](y) * torch.randn(499)).sum(), y)
    assert gradient[:, -1].abs().max() < 1e-30


def test_inverse_of_logarithms_is_stable():
    y = 3 * torch.randn(20, 499)
    torch.testing.assert_close(LogStickBreaking().inv(LogStickBreaking()(y)), y, rtol=1e-3, atol=2e-3)
    extreme = torch.tensor([[-200.0, 300.0, -400.0], [80.0, -90.0, 0.0]])
    torch.testing.assert_close(LogStickBreaking().inv(LogStickBreaking()(extreme)), extreme, rtol=1e-5, atol=1e-4)


def test_inverse_keeps_the_digits_of_a_small_remainder():
    y = torch.tensor([0.0, 25.0, 3.0], dtype=DOUBLE)
    pieces = StickBreaking()(y)
    got = StickBreaking().inv(pieces)
    assert (got - y).abs()[:2].max() < 1e-4  # the remainder, 7e-12, has four digits beside 1
    assert (left_over(pieces) > 0).all()


def test_codomain():
    inside, outside = torch.tensor([0.5, 0.3]), torch.tensor([[0.5, 0.5], [0.5, -0.1], [0.5, 0.0]])
    assert below_simplex.check(inside)
    assert not below_simplex.check(outside).any()
    assert StickBreaking().codomain is below_simplex
    assert below_simplex.check(StickBreaking()(torch.randn(100, 5))).all()


def test_at_temperature_one_logarithms_give_the_pieces():
    y = torch.randn(7, 4, dtype=DOUBLE)
    psi = F.pad(LogStickBreaking()(y), (0, 1)).softmax(-1)
    torch.testing.assert_close(psi, sticks(y.sigmoid()), rtol=1e-12, atol=1e-14)


def law(name):
    """A random law of three categories; temperature and delta are in (0.5, 2)."""
    loc, scale = torch.randn(2, dtype=DOUBLE), 0.5 + torch.rand(2, dtype=DOUBLE)
    temperature, delta = (0.5 + 1.5 * torch.rand(2, dtype=DOUBLE)).unbind()
    transforms = {
        "identity": lambda: None,
        "pieces": StickBreaking,
        "logarithms": LogStickBreaking,
        "planar": lambda: Planar(*torch.randn(2, 2, 2, dtype=DOUBLE), torch.randn(2, dtype=DOUBLE)),
    }
    return InvertibleGaussian(loc, temperature=temperature, delta=delta, scale=scale, transform=transforms[name]())


def log_ratios_of(log_psi):
    return log_psi[..., :-1] - log_psi[..., -1:]


def box(q, name, draws):
    """Corners of the part of the plane of log-ratios to integrate over."""
    if name == "pieces":
        low = -q.delta.log().expand(2)
        return low, low + 1 / q.temperature
    u = log_ratios_of(q.rsample_log((draws,)).detach())
    low, high = u.amin(0), u.amax(0)
    return low - (high - low) / 2, high + (high - low) / 2


def mass(name, points, draws=100_000):
    """Midpoint sum of the density over log-ratios, ``exp(log_prob(psi)) prod_k psi_k``."""
    q = law(name)
    low, high = box(q, name, draws)
    middle = (torch.arange(points, dtype=DOUBLE) + 0.5) / points
    total = 0.0
    for first in middle.split(max(1, 250_000 // points)):
        u = low + (high - low) * torch.cartesian_prod(first, middle)
        if name == "pieces":
            u = u[(u - low).sum(-1) < 1 / q.temperature]
        log_psi = F.pad(u, (0, 1)).log_softmax(-1)
        total += (q.log_prob(log_psi.exp()) + log_psi.sum(-1)).exp().sum()
    return (total * (high - low).prod() / points**2).item()


@pytest.mark.parametrize(
    ("name", "points", "tolerance"), [("pieces", 500, 2e-3), ("logarithms", 300, 1e-3), ("planar", 300, 1e-3)]
)
def test_mass(name, points, tolerance):
    for _ in range(2):
        assert mass(name, points, 20_000) == pytest.approx(1, abs=tolerance)


def test_density_is_zero_outside_of_the_support():
    q = InvertibleGaussian(torch.zeros(2), torch.zeros(2), transform=StickBreaking())
    scores = torch.tensor([[-0.1, 0.5], [0.7, 0.7], [0.3, 0.3]])
    log_prob = q.log_prob(F.pad(scores, (0, 1)).softmax(-1))
    assert (log_prob == -torch.inf).tolist() == [True, True, False]


if __name__ == "__main__":  # the sizes that a test has no time for
    torch.set_num_threads(1)
    for name, points in (("identity", 1000), ("pieces", 2000), ("logarithms", 1000), ("planar", 1000)):
        torch.manual_seed(0)
        print(name, [f"{abs(mass(name, points) - 1):.0e}" for _ in range(5)])
