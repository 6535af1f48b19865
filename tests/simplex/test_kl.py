"""Divergences of the room: closed ones beside torch, golden files and samples; refusals where there is none.

Statistical checks have a fixed seed; each bound is exceeded with a probability below 1e-4 by a correct law.
"""

from __future__ import annotations

import golden_simplex
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import Independent, Normal, kl_divergence

from logprob.distributions import IntractableError
from logprob.simplex.concrete import Concrete, ExpConcrete
from logprob.simplex.gaussian_kl import gaussian_kl
from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.planar import Planar
from logprob.simplex.stick_breaking import LogStickBreaking, StickBreaking
from logprob.transforms import Affine

F64 = torch.float64
GOLDEN = golden_simplex.load("kl")


def some_law(transform=None, temperature=0.7, delta=1.0, size=9, batch=()):
    loc, scale = torch.randn(*batch, size, dtype=F64), torch.rand(*batch, size, dtype=F64) + 0.5
    return InvertibleGaussian(loc, scale=scale, temperature=temperature, delta=delta, transform=transform)


# The Gaussians.


def test_gaussian_divergence_equals_that_of_torch():
    loc, log_scale = torch.randn(2, 5, 4, dtype=F64), torch.randn(5, 4, dtype=F64)
    loc_p, log_scale_p = torch.randn(4, dtype=F64), torch.randn(2, 1, 1, dtype=F64)
    q, p = (Normal(a, b.exp().expand_as(a)) for a, b in ((loc, log_scale), (loc_p.expand_as(loc), log_scale_p)))
    torch.testing.assert_close(gaussian_kl(loc, log_scale, loc_p, log_scale_p), kl_divergence(q, p).sum(-1))


def test_derivatives_of_both_orders():
    shapes = ((2, 3, 4), (3, 4), (4,), (2, 1, 4))
    arguments = [torch.randn(shape, dtype=F64, requires_grad=True) for shape in shapes]
    assert gradcheck(gaussian_kl, arguments)
    assert gradgradcheck(gaussian_kl, arguments)


def test_no_digits_are_lost_near_equality():
    step = torch.tensor([1e-3])
    for shift, expected in ((step, 0.5e-6), (0 * step, 0.0)):
        assert gaussian_kl(shift, 0 * step, 0 * step, 0 * step).item() == pytest.approx(expected, rel=1e-5)
    assert gaussian_kl(0 * step, step, 0 * step, 0 * step).item() == pytest.approx(1e-6, rel=1e-3)


def test_under_vmap_and_compile():
    arguments = [torch.randn(3, 4, dtype=F64) for _ in range(4)]
    rows = torch.func.vmap(gaussian_kl, in_dims=(0, 0, 0, None))(*arguments[:3], arguments[3][0])
    expected = gaussian_kl(*arguments[:3], arguments[3][0])
    torch.testing.assert_close(rows, expected)
    compiled = torch.compile(gaussian_kl, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*arguments[:3], arguments[3][0]), expected)
    hessian = torch.func.jacrev(torch.func.jacrev(gaussian_kl, argnums=1), argnums=1)
    diagonal = hessian(*(x[0] for x in arguments)).diagonal()
    torch.testing.assert_close(diagonal, 2 * (2 * (arguments[1][0] - arguments[3][0])).exp())


# Laws of one map.


def test_closed_divergences_equal_the_golden_ones():
    q = InvertibleGaussian(GOLDEN["loc_q"], GOLDEN["log_scale_q"])
    p = InvertibleGaussian(GOLDEN["loc_p"], GOLDEN["log_scale_p"])
    torch.testing.assert_close(kl_divergence(q, p), GOLDEN["kl"], atol=1e-10, rtol=0)
    torch.testing.assert_close(kl_divergence(q, p).sum(-1), GOLDEN["kl_total_original"].squeeze(-1), atol=1e-10, rtol=0)
    q, p = (
        InvertibleGaussian(*(GOLDEN[f"{field}_{law}"] for field in ("loc", "log_scale", "temperature", "delta")))
        for law in "qp"
    )
    torch.testing.assert_close(kl_divergence(q, p), GOLDEN["kl_different_temperature"], atol=1e-10, rtol=0)


def sampled_kl(q, p, samples):
    """Mean and standard error of ``log q - log p`` on the simplex."""
    psi = q.rsample((samples,))
    difference = q.log_prob(psi) - p.log_prob(psi)
    return difference.mean(0), difference.std(0) / samples**0.5


def planar():
    return Planar(*(torch.randn(2, *shape, dtype=F64) for shape in ((9,), (9,), ())))


@pytest.mark.parametrize("make", [lambda: None, StickBreaking, LogStickBreaking, planar])
def test_closed_divergences_lie_by_the_sampled_ones(make):
    for _ in range(3):
        tau, delta = (torch.empty((), dtype=F64).uniform_(0.5, 2).item() for _ in range(2))
        transform = make()
        q, p = (some_law(transform, tau, delta) for _ in range(2))
        mean, error = sampled_kl(q, p, 10_000)
        assert abs(kl_divergence(q, p) - mean) < 4.5 * error
        if transform is None:
            p = some_law(None, 0.8 * tau, 1.5 * delta)
            mean, error = sampled_kl(q, p, 10_000)
            assert abs(kl_divergence(q, p) - mean) < 4.5 * error


def test_different_temperatures_of_a_batch():
    q = some_law(None, torch.tensor([0.5, 1.0], dtype=F64), batch=(3, 2))
    p = some_law(None, torch.tensor([[0.7], [0.5], [1.0]], dtype=F64), delta=2.0, batch=(3, 1))
    each = [
        kl_divergence(
            InvertibleGaussian(q.loc[i, j], scale=q.scale[i, j], temperature=q.temperature[j]),
            InvertibleGaussian(p.loc[i, 0], scale=p.scale[i, 0], temperature=p.temperature[i, 0], delta=2.0),
        )
        for i in range(3)
        for j in range(2)
    ]
    torch.testing.assert_close(kl_divergence(q, p), torch.stack(each).reshape(3, 2))


def test_equal_maps_need_not_be_one_object():
    w, u, b = (torch.randn(2, *shape, dtype=F64) for shape in ((9,), (9,), ()))
    q, p = some_law(Planar(w, u, b)), some_law(Planar(w.clone(), u.clone(), b.clone()))
    torch.testing.assert_close(kl_divergence(q, p), gaussian_kl(q.loc, q.log_scale, p.loc, p.log_scale))
    shift = Affine(torch.ones(9, dtype=F64), torch.full((9,), 2.0, dtype=F64))
    assert kl_divergence(some_law(shift), some_law(shift)) > 0


@pytest.mark.parametrize(
    ("q", "p", "difference"),
    [
        ((StickBreaking(), 0.5), (StickBreaking(), 1.0), "temperature differs: 0.5 and 1"),
        ((StickBreaking(), 0.5, 1.0), (StickBreaking(), 0.5, 2.0), "delta differs: 1 and 2"),
        ((StickBreaking(), 0.5), (None, 0.5), "maps differ: StickBreaking .* and the identity"),
        ((LogStickBreaking(), 0.5), (StickBreaking(), 0.5), "maps differ: LogStickBreaking"),
    ],
)
def test_other_divergences_are_refused_with_a_remedy(q, p, difference):
    with pytest.raises(IntractableError, match=difference) as caught:
        kl_divergence(some_law(*q), some_law(*p))
    assert "q.log_ratio(p, q.rsample((n,))).mean(0)" in str(caught.value)


def test_planar_laws_of_different_layers_have_no_closed_divergence():
    with pytest.raises(NotImplementedError, match="maps differ: Planar"):
        kl_divergence(some_law(planar()), some_law(planar()))


def test_unequal_numbers_of_categories_are_an_error():
    with pytest.raises(ValueError, match="equally many categories, got 10 and 5"):
        kl_divergence(some_law(size=9), some_law(size=4))


def test_through_independent_and_expand():
    q, p = some_law(batch=(3, 4)), some_law(batch=(4,))
    expected = kl_divergence(q, p)
    assert expected.shape == (3, 4)
    torch.testing.assert_close(kl_divergence(q, p.expand((3, 4))), expected)
    torch.testing.assert_close(kl_divergence(Independent(q, 1), Independent(p, 1)), expected.sum(-1))
    assert kl_divergence(some_law().expand((2, 1)), p.expand((1, 4))).shape == (2, 4)


def test_its_gradient_has_no_noise():
    loc = torch.randn(9, dtype=F64, requires_grad=True)
    p = some_law()
    gradients = []
    for _ in range(2):
        q = InvertibleGaussian(loc, 0.0, 0.7)
        q.rsample()
        gradients.append(torch.autograd.grad(kl_divergence(q, p), loc)[0])
    assert torch.equal(*gradients)
    torch.testing.assert_close(gradients[0], (loc - p.loc).detach() / p.scale**2)


def test_a_temperature_that_differs_takes_its_gradient():
    tau = torch.tensor(0.7, dtype=F64, requires_grad=True)
    q, p = some_law(), some_law(temperature=0.5)

    def divergence(tau):
        return kl_divergence(InvertibleGaussian(q.loc, scale=q.scale, temperature=tau), p)

    assert gradcheck(divergence, tau)


# Concrete laws.


@pytest.mark.parametrize(("of", "to"), [(Concrete, Concrete), (ExpConcrete, ExpConcrete), (Concrete, ExpConcrete)])
def test_concrete_laws_have_no_closed_divergence(of, to):
    q, p = of(0.5, torch.randn(5)), to(0.5, torch.zeros(5))
    for laws in ((q, p), (Independent(q.expand((2,)), 1), Independent(p.expand((2,)), 1))):
        with pytest.raises(NotImplementedError, match=r"log_ratio.*to_categorical"):
            kl_divergence(*laws)
    assert kl_divergence(q.to_categorical(), p.to_categorical()) > 0


def test_categorical_divergences():
    golden = golden_simplex.load("concrete")
    q = Concrete(0.5, golden["logits"][0])
    uniform = Concrete(0.5, torch.zeros(5, dtype=F64))
    got = kl_divergence(q.to_categorical(), uniform.to_categorical())
    torch.testing.assert_close(got, golden["kl_categorical"], atol=1e-9, rtol=0)
