"""Planar layers: reference values, the constraint, Jacobians, inverses of hard layers, and the module."""

from __future__ import annotations

import copy
import pickle

import golden_simplex
import pytest
import torch

from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.planar import Planar, PlanarLayers
from logprob.testing import check_transform

DOUBLE = torch.float64


def golden():
    return golden_simplex.load("planar")


def random_planar(*shape, layers=2, dtype=DOUBLE):
    return Planar(
        torch.randn(layers, *shape, dtype=dtype),
        torch.randn(layers, *shape, dtype=dtype),
        torch.randn(layers, *shape[:-1], dtype=dtype),
    )


def one_layer(product, dtype=DOUBLE):
    """A layer with ``w.u`` given, in three dimensions."""
    w = torch.tensor([[0.0, -1.0, 0.0]], dtype=dtype)
    return Planar(w, product * w + torch.tensor([[0.8, 0.0, 0.6]], dtype=dtype), torch.tensor([0.25], dtype=dtype))


def test_reference_file():
    file = golden()
    f = Planar(file["w"], file["u"], file["b"])
    y, ladj = f.call_and_ladj(file["y"])
    torch.testing.assert_close(y, file["output"], rtol=0, atol=1e-10)
    torch.testing.assert_close(ladj, file["logdet"], rtol=0, atol=1e-10)
    torch.testing.assert_close(f.inv(y), file["y"], rtol=0, atol=1e-10)
    shifts = torch.stack([layer.shift for layer in f._layers()])
    torch.testing.assert_close(shifts, file["u_tilde"], rtol=0, atol=1e-12)


def test_densities_of_the_reference_file():
    file, samples = golden(), golden_simplex.load("invertible_gaussian")
    f = Planar(file["w"], file["u"], file["b"])
    for temperature, log_psi, expected in zip(file["temperatures"], file["log_psi"], file["log_prob"], strict=True):
        q = InvertibleGaussian(samples["loc"], samples["log_scale"], temperature, transform=f)
        torch.testing.assert_close(q.map.log_psi(file["y"]), log_psi, rtol=1e-12, atol=1e-10)
        # The density of the first coordinates of psi, from that of their logarithms.
        got = q.log_prob_log(log_psi) - log_psi[..., :-1].sum(-1)
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-9)


def test_log_determinant_is_that_of_autograd():
    for row in golden()["y"].reshape(-1, 4):
        f = random_planar(4)
        ladj = f.call_and_ladj(row)[1]
        expected = torch.linalg.slogdet(torch.func.jacrev(f)(row))[1]
        torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layers", [1, 3])
def test_is_a_transform(layers):
    check_transform(random_planar(5, layers=layers), torch.randn(6, 5, dtype=DOUBLE), tolerance=1e-9)


def test_one_map_a_variable():
    f, y = random_planar(3, 4), torch.randn(6, 3, 4, dtype=DOUBLE)
    got, ladj = f.call_and_ladj(y)
    for i in range(3):
        expected, expected_ladj = Planar(f.w[:, i], f.u[:, i], f.b[:, i]).call_and_ladj(y[:, i])
        torch.testing.assert_close(got[:, i], expected)
        torch.testing.assert_close(ladj[:, i], expected_ladj)
    assert f(torch.zeros(4, dtype=DOUBLE)).shape == f.forward_shape((4,)) == (3, 4)
    torch.testing.assert_close(f.inv(got), y)


@pytest.mark.parametrize("product", [-300.0, -60.0, -17.0, -3.0, 0.0, 5.0, 60.0, 1e4])
def test_hard_layers_are_inverted(product):
    f = one_layer(product)
    # Along w, where the layer is steepest or flattest, and far from there.
    y = torch.tensor([0.5, 1.0, 0.0], dtype=DOUBLE) * torch.linspace(-9, 9, 61, dtype=DOUBLE).unsqueeze(-1)
    out, ladj = f.call_and_ladj(y)
    assert ladj.isfinite().all()
    torch.testing.assert_close(f(f.inv(out)), out, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("product", [-80.0, -17.0, 0.0, 17.0])
def test_single_precision(product):
    f, exact = one_layer(product, torch.float32), one_layer(product)
    at_flattest = torch.tensor([0.5, 0.25, 0.0])
    for y in (at_flattest, torch.randn(50, 3)):
        ladj = f.call_and_ladj(y)[1]
        torch.testing.assert_close(ladj, exact.call_and_ladj(y.double())[1].float(), rtol=1e-4, atol=1e-5)
    gradient = torch.func.grad(lambda y: f.call_and_ladj(y)[1])(at_flattest)
    assert gradient.isfinite().all()
    y = torch.randn(50, 3)
    torch.testing.assert_close(f(f.inv(f(y))), f(y), rtol=1e-5, atol=1e-5)


def test_constraint_is_needed():
    """Without it, ``w.u < -1`` folds the line of w back."""
    w = torch.tensor([[1.0, 0.0]], dtype=DOUBLE)
    f = Planar(w, -3 * w, torch.zeros(1, dtype=DOUBLE))
    line = f(torch.linspace(-2, 2, 99, dtype=DOUBLE).unsqueeze(-1) * w)[:, 0]
    assert (line.diff() > 0).all()


def test_zero_direction_is_a_shift():
    w = torch.zeros(1, 3, dtype=DOUBLE, requires_grad=True)
    u, b = torch.ones(1, 3, dtype=DOUBLE), torch.tensor([0.5], dtype=DOUBLE)
    f, y = Planar(w, u, b), torch.randn(4, 3, dtype=DOUBLE)
    out, ladj = f.call_and_ladj(y)
    torch.testing.assert_close(out, y + b.tanh())
    assert not ladj.any()
    torch.testing.assert_close(f.inv(out), y)
    (gradient,) = torch.autograd.grad(out.sum() + ladj.sum(), w)
    assert gradient.isfinite().all()


def test_gradients():
    y, w, u = (torch.randn(*shape, dtype=DOUBLE, requires_grad=True) for shape in ((3, 4), (2, 4), (2, 4)))
    b = torch.randn(2, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *args: Planar(*args[1:]).call_and_ladj(args[0]), (y, w, u, b))
    assert torch.autograd.gradcheck(lambda *args: Planar(*args[1:]).inv(args[0]), (y, w, u, b))
    assert torch.autograd.gradgradcheck(lambda *args: Planar(*args[1:]).inv(args[0]), (y, w, u, b))


def test_copies_vmap_and_compile():
    f, y = random_planar(4), torch.randn(5, 4, dtype=DOUBLE)
    assert pickle.loads(pickle.dumps(f)) == f == copy.deepcopy(f) == f.with_cache()
    assert f != random_planar(4)
    torch.testing.assert_close(torch.func.vmap(f)(y), f(y))
    torch.testing.assert_close(torch.func.vmap(f.inv)(y), f.inv(y))
    compiled = torch.compile(lambda x: f.call_and_ladj(x), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(y), f.call_and_ladj(y))
    torch.testing.assert_close(f(y[0].expand(3, 4))[1], f(y[0]))
    assert f.inv(f(y[:0])).shape == (0, 4)


def test_shapes_that_do_not_agree():
    with pytest.raises(ValueError, match=r"got \(2, 3\), \(2, 4\) and \(2,\)"):
        Planar(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2))
    with pytest.raises(ValueError, match=r"expected w and u of shape \(L, ..., D\)"):
        Planar(torch.zeros(3), torch.zeros(3), torch.zeros(()))


def test_module():
    layers = PlanarLayers(2, (20, 9))
    f = layers()
    y, ladj = f.call_and_ladj(torch.randn(5, 20, 9))
    assert y.shape == (5, 20, 9)
    (y.sum() + ladj.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in layers.parameters())
    assert layers.w.std().item() == pytest.approx(0.05, rel=0.2)  # 360 draws: within 5 of its standard errors
    assert not layers.b.any()
    before = f(torch.ones(20, 9))
    with torch.no_grad():
        layers.b.add_(1.0)
    assert torch.equal(f(torch.ones(20, 9)), before)
    assert PlanarLayers(1, 3)()(torch.zeros(3)).shape == (3,)
    with pytest.raises(ValueError, match="at least 1"):
        PlanarLayers(0, 3)
