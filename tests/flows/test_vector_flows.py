"""Flows of vectors: the contract of a layer and of a distribution, both directions, contexts and mass."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from logprob.flows.autoregressive import Autoregressive
from logprob.flows.bases import StandardLaplace
from logprob.flows.element_maps import AffineMap, SplineMap
from logprob.flows.neural_spline_flow import NeuralSplineFlow
from logprob.flows.realnvp import RealNVP
from logprob.flows.vector_coupling import Coupling, Permutation
from logprob.testing import check_distribution, check_transform

SPLINE = SplineMap(bins=4, bound=3.0)
SMALL = {"hidden": (12, 10)}
LAYERS = {
    "affine coupling": lambda **more: Coupling(5, **SMALL, **more),
    "affine coupling, flipped": lambda **more: Coupling(5, flip=True, **SMALL, **more),
    "spline coupling": lambda **more: Coupling(5, SPLINE, **SMALL, **more),
    "masked autoregressive": lambda **more: Autoregressive(5, **SMALL, **more),
    "inverse autoregressive": lambda **more: Autoregressive(5, direction="sampling", **SMALL, **more),
    "autoregressive spline, reversed": lambda **more: Autoregressive(5, SPLINE, reverse=True, **SMALL, **more),
    "inverse autoregressive spline": lambda **more: Autoregressive(5, SPLINE, "sampling", **SMALL, **more),
}
FLOWS = {
    "RealNVP": lambda **more: RealNVP(3, transforms=2, **SMALL, **more),
    "coupling": lambda **more: NeuralSplineFlow(3, transforms=2, bins=4, **SMALL, **more),
    "autoregressive": lambda **more: NeuralSplineFlow(
        3, transforms=2, bins=4, coupling="autoregressive", **SMALL, **more
    ),
    "inverse-autoregressive": lambda **more: NeuralSplineFlow(
        3, transforms=1, bins=4, coupling="inverse-autoregressive", **SMALL, **more
    ),
}
EACH_LAYER = pytest.mark.parametrize("name", LAYERS)
EACH_FLOW = pytest.mark.parametrize("name", FLOWS)
CONTEXT = pytest.mark.parametrize("context", [0, 2], ids=["", "context"])


def far_from_the_start(module, spread=0.5):
    """In float64, with last layers that say something."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return module.double()


@CONTEXT
@EACH_LAYER
def test_layer_contract(name, context):
    layer = far_from_the_start(LAYERS[name](context=context))
    given = torch.randn(context, dtype=torch.float64) if context else None
    check_transform(layer.transform(given), 2 * torch.randn(4, 5, dtype=torch.float64), tolerance=1e-7)


@CONTEXT
@EACH_LAYER
def test_gradients_are_those_of_autograd(name, context):
    layer = far_from_the_start(LAYERS[name](context=context))
    rows = [torch.randn(3, size, dtype=torch.float64, requires_grad=True) for size in (5, context) if size]
    assert torch.autograd.gradcheck(layer, rows)
    assert torch.autograd.gradcheck(layer.inverse, rows)
    layer(*rows)[1].sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad.isfinite().all()


@EACH_LAYER
def test_context_matters_row_by_row(name):
    layer = far_from_the_start(LAYERS[name](context=2))
    x, context = torch.randn(2, 5).double(), torch.randn(2, 2).double()
    z, ladj = layer(x, context)
    torch.testing.assert_close(layer.inverse(z, context), x)
    swapped, other = layer(x, context.flip(0))
    assert (z != swapped).any(1).all()
    assert (ladj != other).all()
    with pytest.raises(ValueError, match="expected a context of width 2, got none"):
        layer(x)
    with pytest.raises(ValueError, match="expected a context of width 2, got one of width 3"):
        layer(x, torch.zeros(2, 3).double())


@CONTEXT
@EACH_LAYER
def test_an_empty_batch(name, context):
    layer, x = LAYERS[name](context=context), torch.zeros(0, 5)
    given = torch.zeros(0, context) if context else None
    z, ladj = layer(x, given)
    assert z.shape == layer.inverse(z, given).shape == x.shape
    assert ladj.shape == (0,)


@EACH_LAYER
def test_wrong_shapes(name):
    with pytest.raises(ValueError, match="expected vectors of 5 features"):
        LAYERS[name]()(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="expected vectors of 5 features"):
        LAYERS[name]().output_shape((1, 5))


@pytest.mark.parametrize("direction", ["density", "sampling"])
@pytest.mark.parametrize("reverse", [False, True])
def test_autoregressive_jacobian_is_triangular(direction, reverse):
    layer = far_from_the_start(Autoregressive(4, SPLINE, direction, (32,), reverse=reverse, activation="tanh"))
    jacobian = torch.func.jacrev(lambda x: layer(x[None])[0][0])(torch.randn(4, dtype=torch.float64))
    zero, used = (jacobian.tril(-1), jacobian.triu(1)) if reverse else (jacobian.triu(1), jacobian.tril(-1))
    assert not zero.any()
    assert (used != 0).sum() == 6


def test_one_variable_with_a_context():
    flow = NeuralSplineFlow(1, coupling="autoregressive", context=2, hidden=(8,))
    assert flow(torch.randn(5, 2)).log_prob(torch.randn(5, 1)).shape == (5,)


def test_permutation():
    layer = Permutation((2, 0, 1))
    x = torch.randn(4, 3, dtype=torch.float64)
    assert torch.equal(layer(x)[0], x[:, [2, 0, 1]])
    check_transform(layer.transform(), x)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x)[0], layer(x)[0])
    assert sorted(Permutation(7).order.tolist()) == list(range(7))
    with pytest.raises(ValueError, match="permutation"):
        Permutation((0, 0, 1))


@CONTEXT
@EACH_FLOW
def test_distribution_contract(name, context):
    given = torch.randn(7, context) if context else None
    check_distribution(lambda: FLOWS[name](context=context), 1.5 * torch.randn(7, 3), context=given)


@pytest.mark.parametrize("name", ["RealNVP", "coupling", "inverse-autoregressive"])
def test_mass_is_one(name):
    kinds = {"RealNVP": RealNVP, "coupling": NeuralSplineFlow, "inverse-autoregressive": NeuralSplineFlow}
    more = {} if name == "RealNVP" else {"coupling": name, "bins": 3}
    flow = far_from_the_start(kinds[name](2, transforms=2, hidden=(6,), **more), spread=0.3)
    line = torch.linspace(-14, 14, 561, dtype=torch.float64)
    with torch.no_grad():
        mass = flow().log_prob(torch.cartesian_prod(line, line)).exp().sum() * (line[1] - line[0]) ** 2
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-3)


@EACH_FLOW
def test_samples_follow_the_density(name):
    """Samples mapped back are standard normal: a mean of 20000 is within 5 deviations but once in 10^6."""
    flow = far_from_the_start(FLOWS[name](), spread=0.2)
    with torch.no_grad():
        z = flow.encode(flow().sample((20000,)))[0]
    assert (z.mean(0).abs() < 5 / 20000**0.5).all()
    assert (z.var(0) - 1).abs().max() < 5 * (2 / 20000) ** 0.5


@EACH_FLOW
def test_reparameterised_samples_have_gradients(name):
    flow = far_from_the_start(FLOWS[name](), spread=0.2)
    flow().rsample((20,)).square().sum().backward()
    reached = [parameter.grad is not None and bool(parameter.grad.ne(0).any()) for parameter in flow.parameters()]
    assert all(reached)


def test_flows_start_close_to_the_identity():
    x = torch.randn(50, 6)
    for flow in (RealNVP(6), NeuralSplineFlow(6), NeuralSplineFlow(6, coupling="autoregressive")):
        torch.testing.assert_close(flow.encode(x)[0], x, rtol=0, atol=0.05)


def test_fits_a_bent_density():
    """The loss comes down to the entropy: x_2 given x_1 is normal around sin(2 x_1)."""
    first = torch.randn(512, 1)
    x = torch.cat([first, (2 * first).sin() + 0.3 * torch.randn(512, 1)], 1)
    entropy = 1 + torch.log(torch.tensor(2 * torch.pi)) + torch.log(torch.tensor(0.3))
    for flow in (RealNVP(2, hidden=(32,)), NeuralSplineFlow(2, hidden=(32,), transforms=2)):
        optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            loss = -flow().log_prob(x).mean()
            loss.backward()
            optimizer.step()
        assert loss < entropy + 0.1


def test_other_bases_and_copies():
    flow = NeuralSplineFlow(3, hidden=(8,), base=StandardLaplace(3))
    x = torch.randn(5, 3)
    assert torch.equal(copy.deepcopy(flow)().log_prob(x), flow().log_prob(x))
    assert isinstance(flow.base, StandardLaplace)
    assert all(isinstance(layer.network, nn.Module) for layer in flow.layers)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda: Coupling(1), "at least 2 features"),
        (lambda: Autoregressive(3, direction="both"), "'density' or 'sampling'"),
        (lambda: NeuralSplineFlow(3, coupling="masked"), "one of coupling, autoregressive, inverse-autoregressive"),
        (lambda: NeuralSplineFlow(3, bins=0), "1 <= bins"),
        (lambda: SplineMap(bound=0.0), "bound > 0"),
        (lambda: RealNVP(3, hidden=(0,)), "widths must be at least 1"),
        (lambda: RealNVP(3, activation="sine"), "must be one of relu"),
    ],
)
def test_errors(wrong, match):
    with pytest.raises(ValueError, match=match):
        wrong()


def test_element_maps_are_values():
    assert AffineMap() == AffineMap()
    assert SplineMap(5) == SplineMap(bins=5, bound=5.0)
    assert SplineMap(5).outputs == 14
