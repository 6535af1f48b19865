"""Layers of image flows: coupling, squeeze, split."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from golden_flows import load

from logprob.flows import Energy, FlowLayer, Sequential, Surrogate
from logprob.flows.coupling import AffineCoupling2d
from logprob.flows.reshape import Flatten, Squeeze, Unflatten, Unsqueeze
from logprob.flows.split import Split
from logprob.flows.vector_coupling import Coupling
from logprob.testing import check_transform

SHAPE = (4, 2, 4)


def close(got, expected, rtol=1e-9, atol=1e-11):
    torch.testing.assert_close(got.detach(), expected, rtol=rtol, atol=atol)


def golden_coupling(file, prefix=""):
    width, channels = len(file[f"{prefix}w1"]), len(file[f"{prefix}w3"])
    layer = AffineCoupling2d(channels, width, file[f"{prefix}w1"].shape[1] - channels // 2).double()
    last = layer.network[4]
    tensors = [t for m in (layer.network[0], layer.network[2], last.convolution) for t in (m.weight, m.bias)]
    names = ["w1", "b1", "w2", "b2", "w3", "b3", "l3"]
    with torch.no_grad():
        for name, tensor in zip(names, [*tensors, last.log_scale], strict=True):
            tensor.copy_(file[prefix + name])
    return layer


def shaken(layer, scale=0.2):
    """The layer in general position: what starts at zero does not stay there."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += scale * torch.randn_like(parameter)
    return layer


def coupling(**options):
    return shaken(AffineCoupling2d(4, width=6, **options))


LAYERS = {
    "coupling": lambda: coupling(),
    "squeeze": lambda: Squeeze(),
    "unsqueeze": lambda: Unsqueeze(),
    "flatten": lambda: Flatten(SHAPE),
    "split": lambda: Split(Squeeze(), SHAPE),
    "split with coupling": lambda: Split(Squeeze(), SHAPE, coupling()),
    "split of vectors": lambda: Sequential([Flatten(SHAPE), Split(Unit(), 32, shaken(Coupling(32, hidden=(8,))))]),
    "two splits": lambda: Split(Sequential([Squeeze(), Split(Unit(), (8, 1, 2))]), SHAPE, coupling()),
}


class Unit(FlowLayer):
    """The identity, which counts what passes it."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x, context=None):
        return x, x.new_zeros(len(x))

    def inverse(self, z, context=None, method="exact"):
        self.calls.append(method)
        return z

    def surrogate(self, x, context=None, options=None):
        return Surrogate(x, x.new_ones(len(x)), (Energy(x.new_ones(()), 1),))

    def initialize(self, x, context=None):
        self.calls.append("initialize")
        return x

    def synchronize(self):
        self.calls.append("synchronize")


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_transforms(name):
    layer = LAYERS[name]().double()
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    check_transform(layer.transform(), x, tolerance=1e-10)
    z, _ = layer(x)
    assert layer.output_shape(SHAPE) == tuple(z.shape[1:])
    assert layer.input_shape(tuple(z.shape[1:])) == SHAPE
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x)[0], z)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compile_and_map(name):
    layer = LAYERS[name]()
    x = torch.randn(3, *SHAPE)
    expected = layer(x)
    torch.compiler.reset()
    compiled = torch.compile(layer.forward, backend="aot_eager", fullgraph=True)(x)
    mapped = torch.func.vmap(lambda row: tuple(t[0] for t in layer(row[None])))(x)
    for got in (compiled, mapped):
        torch.testing.assert_close(tuple(got), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_batch(name):
    layer, x = LAYERS[name](), torch.zeros(0, *SHAPE)
    z, ladj = layer(x)
    assert z.shape == (0, *layer.output_shape(SHAPE))
    assert layer.inverse(z).shape == x.shape
    assert ladj.shape == (0,)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_know_the_rank_of_their_output_before_they_see_data(name):
    layer = LAYERS[name]()
    rank = layer.event_dim if layer.output_dim is None else layer.output_dim
    assert rank == layer.transform().codomain.event_dim == len(layer.output_shape(SHAPE))


def test_vectors_become_images():
    layer = Unflatten(SHAPE)
    assert (layer.event_dim, layer.output_dim) == (1, 3)
    assert layer.transform().codomain.event_dim == 3


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_squares_are_those_of_torch(factor):
    x = torch.randn(2, 3, 6, 12)
    z, _ = Squeeze(factor)(x)
    assert torch.equal(z, torch.nn.functional.pixel_unshuffle(x, factor))
    assert torch.equal(Squeeze(factor).inverse(z), x)


def test_squeeze_is_the_published_one():
    file = load("layers")
    for layer, name in ((Squeeze(), "sq"), (Unsqueeze(), "unsq")):
        z, ladj = layer(file[f"{name}_x"])
        assert torch.equal(z, file[f"{name}_z"])
        assert torch.equal(layer.inverse(z), file[f"{name}_x"])
        assert not ladj.any()


@pytest.mark.parametrize("prefix", ["", "c"])
def test_coupling_is_the_published_one(prefix):
    file = load("coupling")
    layer = golden_coupling(file, prefix)
    context = file["ctx"] if prefix else None
    z, ladj = layer(file["x"], context)
    close(z, file[f"{prefix}z"])
    close(ladj, file[f"{prefix}ldj"])
    close(layer.inverse(z, context), file["x"])


def test_split_is_the_published_split_prior():
    file = load("coupling")
    layer = Split(Unit(), file["x"].shape[1:], golden_coupling(file, "sp_"))
    z, ladj = layer(file["x"])
    size = file["sp_x1"][0].numel()
    close(z[:, :size].reshape(file["sp_x1"].shape), file["sp_x1"])
    normal = -(z[:, size:] ** 2).sum(1) / 2 - (z.shape[1] - size) * math.log(2 * math.pi) / 2
    close(ladj + normal, file["sp_ldj"])
    close(layer.inverse(z), file["x"])


def test_a_coupling_starts_as_the_identity_with_parameters_of_their_own():
    layer = AffineCoupling2d(4, width=6)
    x = torch.randn(2, 4, 3, 5)
    z, ladj = layer(x)
    assert torch.equal(z, x)
    assert not ladj.any()
    last = layer.network[4]
    with torch.no_grad():
        last.convolution.bias += 1
    assert not last.log_scale.any()


def test_gradients_reach_every_parameter_and_the_inverse_is_differentiable():
    layer, x = coupling().double(), torch.randn(2, *SHAPE, dtype=torch.float64)
    z, ladj = layer(x)
    (z.square().sum() - ladj.sum()).backward()
    assert all((p.grad != 0).any() for p in layer.parameters())
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(layer.inverse(layer(x)[0]).sum(), x)
    close(gradient, torch.ones_like(x))


def test_a_vector_context_is_that_of_all_positions():
    layer, x, context = coupling(context_channels=3), torch.randn(2, 4, 3, 5), torch.randn(2, 3)
    image = context[:, :, None, None].expand(2, 3, 3, 5)
    z, ladj = layer(x, context)
    assert torch.equal(z, layer(x, image)[0])
    assert torch.equal(ladj, layer(x, image)[1])
    torch.testing.assert_close(layer.inverse(z, context), x)
    assert not torch.equal(z, layer(x, context + 1)[0])
    plain = coupling()
    assert torch.equal(plain(x, context)[0], plain(x)[0])


def test_a_split_passes_everything_on():
    units = [Unit() for _ in range(3)]
    inner = Sequential([units[1], Split(units[2], (2, 2, 4))])
    layer = Split(inner, SHAPE, units[0])
    x = torch.randn(3, *SHAPE)
    z, ladj, energies = layer.surrogate(x)
    assert torch.equal(z, layer(x)[0])
    assert ladj.tolist() == [3.0, 3.0, 3.0]
    assert len(energies) == 3
    assert torch.equal(layer.initialize(x), z)
    layer.synchronize()
    assert torch.equal(layer.inverse(z, method="approximate"), x)
    assert all(unit.calls == ["initialize", "synchronize", "approximate"] for unit in units)


def test_a_split_of_an_odd_number_keeps_the_smaller_part():
    layer, x = Split(Unit(), 5), torch.randn(3, 5)
    assert layer.kept == 2
    assert torch.equal(layer(x)[0], x)
    assert torch.equal(layer.inverse(x), x)


def test_rows_are_flattened_row_major():
    layer, x = Unflatten((2, 3, 4)), torch.arange(48.0).reshape(2, 24)
    images, ladj = layer(x)
    assert images[0, 1, 2].tolist() == [20.0, 21.0, 22.0, 23.0]
    assert not ladj.any()
    assert torch.equal(layer.inverse(images), x)
    assert layer.input_shape((2, 3, 4)) == (24,)
    assert layer.output_shape((24,)) == (2, 3, 4)


ERRORS = {
    "odd channels": (lambda: AffineCoupling2d(3), "even"),
    "no width": (lambda: AffineCoupling2d(4, width=0), "width must be positive"),
    "wrong channels": (lambda: coupling()(torch.zeros(1, 6, 2, 2)), "4 channels"),
    "vectors": (lambda: coupling()(torch.zeros(1, 4)), "4 channels"),
    "no context": (lambda: coupling(context_channels=2)(torch.zeros(1, 4, 2, 2)), "needs a context"),
    "wrong context": (
        lambda: coupling(context_channels=2)(torch.zeros(1, 4, 2, 2), torch.zeros(1, 3)),
        r"expected a context of shape \(1, 2, 2, 2\)",
    ),
    "odd sides": (lambda: Squeeze()(torch.zeros(1, 1, 3, 4)), "multiples of 2, got 3 x 4"),
    "channels of unsqueeze": (lambda: Unsqueeze()(torch.zeros(1, 3, 4, 4)), "multiple of 4, got 3"),
    "squeeze of vectors": (lambda: Squeeze().output_shape((4,)), "channels, height, width"),
    "factor": (lambda: Squeeze(0), "at least 1"),
    "flatten": (lambda: Flatten((1, 2, 2))(torch.zeros(1, 1, 2, 3)), "expected an event of shape"),
    "unflatten": (lambda: Unflatten((1, 2, 2))(torch.zeros(1, 5)), "vector of length 4"),
    "image shape": (lambda: Unflatten((1, 0, 2)), "positive sizes"),
    "nothing to split": (lambda: Split(Unit(), (1, 2, 2)), "at least two"),
    "split coupling": (lambda: Split(Unit(), (4, 2, 2), Squeeze()), "must keep the shape"),
    "split inner": (lambda: Split(Squeeze(), (4, 3, 3)), "multiples of 2"),
    "split shape": (lambda: Split(Unit(), (4, 2, 2))(torch.zeros(1, 4, 2, 3)), "expected an event"),
    "split latents": (lambda: Split(Unit(), (4, 2, 2)).inverse(torch.zeros(1, 15)), "vector of length 16"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_expected(case):
    call, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        call()
