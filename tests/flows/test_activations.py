"""Elementwise layers: published values, inverses, implicit gradients, and the ones that warn or raise."""

from __future__ import annotations

import copy
import pickle
from typing import get_args

import pytest
import torch
from golden_flows import load

from logprob.flows.activations import SELU, Identity, LeakyReLU, LearnableLeakyReLU, SmoothLeakyReLU, SmoothTanh
from logprob.flows.spline_activation import Activation, RationalQuadraticSpline, activation
from logprob.testing import check_transform

SHAPE = (2, 3, 2)

LAYERS = {
    "slr03": lambda: SmoothLeakyReLU(0.3),
    "slr08": lambda: SmoothLeakyReLU(0.8),
    "slr001": lambda: SmoothLeakyReLU(0.01),
    "leaky": lambda: LeakyReLU(0.1),
    "llr": LearnableLeakyReLU,
    "stanh": lambda: SmoothTanh(1.0, 0.1),
    "stanh, flat": lambda: SmoothTanh(5.0, 0.01),
    "spline_shared": RationalQuadraticSpline,
    "spline_elem": lambda: RationalQuadraticSpline(SHAPE),
    "identity": Identity,
}
GOLDEN_NAMES = ("slr03", "slr08", "leaky", "llr", "stanh", "spline_shared", "spline_elem")
SPLINE_PARAMETERS = {"uw": "widths", "uh": "heights", "ud": "derivatives", "alpha_logit": "alpha_logit"}


@pytest.fixture(scope="module")
def golden():
    return load("activations")


def make(name, spread=1.0):
    layer = LAYERS[name]().double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=spread)
    return layer


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_published_values(golden, name):
    layer = make(name)
    state = {target: golden[f"{name}_{key}"] for key, target in SPLINE_PARAMETERS.items() if f"{name}_{key}" in golden}
    layer.load_state_dict(state)
    z, ladj = layer(golden["x"])
    torch.testing.assert_close(z, golden[f"{name}_y"], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(ladj, golden[f"{name}_ldj"], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(layer.inverse(golden[f"{name}_y"]), golden["x"], rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", LAYERS)
def test_contract(name):
    x = 4 * torch.randn(3, *SHAPE, dtype=torch.float64)
    check_transform(make(name).transform(event_dim=3), x, tolerance=1e-7)
    if name != "spline_elem":
        check_transform(make(name).transform(), x.flatten(1), tolerance=1e-7)


@pytest.mark.parametrize("name", LAYERS)
def test_inverse_has_the_implicit_gradient(name):
    layer = make(name)
    z = torch.randn(4, *SHAPE, dtype=torch.float64, requires_grad=True)
    x = layer.inverse(z)
    _, ladj = layer(x)
    (slope,) = torch.autograd.grad(x.sum(), z, retain_graph=True)
    torch.testing.assert_close(slope.log().flatten(1).sum(1), -ladj)
    assert torch.autograd.gradcheck(layer.inverse, z)
    assert torch.autograd.gradgradcheck(layer.inverse, z)
    for parameter in layer.parameters():
        (gradient,) = torch.autograd.grad(x.square().sum(), parameter, retain_graph=True)
        assert gradient.ne(0).any()
    torch.testing.assert_close(torch.func.vmap(lambda row: layer.inverse(row[None])[0])(z), x)


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_reaches_every_parameter_and_copies_agree(name):
    layer = make(name)
    x = 4 * torch.randn(6, *SHAPE, dtype=torch.float64)
    z, ladj = layer(x)
    if list(layer.parameters()):
        (z.square().sum() + ladj.sum()).backward()
    for parameter in layer.parameters():
        assert parameter.grad.ne(0).any()
        assert parameter.grad.isfinite().all()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x)[0], z)


@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.9])
def test_smooth_leaky_relu_inverts_in_float32(alpha):
    layer, x = SmoothLeakyReLU(alpha), torch.linspace(-50, 50, 20001).unsqueeze(0)
    torch.testing.assert_close(layer.inverse(layer(x)[0]), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.1, 0.3, 0.8, 0.999])
def test_newton_reaches_rounding(alpha):
    x = torch.cat([sign * torch.logspace(-8, 3, 2000, dtype=torch.float64) for sign in (-1, 1)]).unsqueeze(0)
    for layer in (SmoothLeakyReLU(alpha), SmoothTanh(1.0, alpha), SmoothTanh(alpha, 1.0)):
        z = layer(x)[0]
        torch.testing.assert_close(layer(layer.inverse(z))[0], z, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", LAYERS)
def test_the_ends_of_the_line_are_mapped_to_themselves(name):
    ends = torch.tensor([-torch.inf, torch.inf], dtype=torch.float64).repeat_interleave(12).reshape(2, *SHAPE)
    assert torch.equal(make(name).inverse(ends), ends)


def test_inverses_that_no_float_holds_are_infinite():
    large = torch.tensor([[-3e38, 3e38]])
    assert torch.equal(SmoothLeakyReLU(0.3).inverse(large), torch.tensor([[-torch.inf, 3e38]]))
    assert torch.equal(SmoothTanh(1.0, 0.1).inverse(large), large.sign() * torch.inf)
    z = torch.tensor([[torch.inf, -torch.inf, 0.5]], dtype=torch.float64, requires_grad=True)
    SmoothLeakyReLU(0.25).inverse(z).sum().backward()
    torch.testing.assert_close(z.grad[0, :2], torch.tensor([1.0, 4.0]).double())


@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_batch(name):
    layer, x = make(name), torch.zeros(0, *SHAPE, dtype=torch.float64)
    z, ladj = layer(x)
    assert z.shape == layer.inverse(z).shape == x.shape
    assert ladj.shape == (0,)


def test_selu_warns_and_has_no_inverse_below_its_range():
    with pytest.warns(UserWarning, match="total mass below one"):
        layer = SELU()
    x = torch.randn(3, 4, dtype=torch.float64)
    check_transform(layer.transform(), x)
    assert torch.equal(layer(x)[0], torch.nn.functional.selu(x))
    with pytest.raises(ValueError, match="no inverse"):
        layer.inverse(torch.full((1, 4), -1.8))


@pytest.mark.parametrize("name", get_args(Activation))
@pytest.mark.filterwarnings("ignore:SELU")
def test_every_name_makes_a_layer(name):
    layer = activation(name, SHAPE)
    z, ladj = layer(torch.randn(4, *SHAPE))
    assert z.shape == (4, *SHAPE)
    assert ladj.shape == (4,)
    assert z.dtype == ladj.dtype == torch.float32


def test_spline_starts_close_to_the_identity():
    x = torch.linspace(-15, 15, 2 * 3 * 2 * 50).reshape(-1, *SHAPE)
    for layer in (RationalQuadraticSpline(SHAPE), RationalQuadraticSpline()):
        torch.testing.assert_close(layer(x)[0], x, rtol=0, atol=0.3)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda: SmoothLeakyReLU(0.0), "between 0 and 1"),
        (lambda: SmoothLeakyReLU(1.5), "between 0 and 1"),
        (lambda: SmoothTanh(1.0, 0.0), "positive"),
        (lambda: LeakyReLU(-0.1), "positive"),
        (lambda: RationalQuadraticSpline(bins=0), "bins"),
        (lambda: RationalQuadraticSpline(bound=-1.0), "bound"),
        (lambda: RationalQuadraticSpline((2, 3))(torch.zeros(4, 3, 2)), r"expected the event shape \(2, 3\)"),
        (lambda: activation("relu", (2,)), "must be one of smooth-leaky-relu"),
        (lambda: SmoothLeakyReLU()(torch.zeros(3)), "batch of events"),
    ],
)
def test_errors(wrong, match):
    with pytest.raises(ValueError, match=match):
        wrong()
