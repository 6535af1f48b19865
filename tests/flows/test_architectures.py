"""The flows that are put together from layers: dense, convolutional, Glow."""

from __future__ import annotations

import math

import pytest
import torch
from golden_flows import load

from logprob.batch import Batch
from logprob.flows import SurrogateOptions
from logprob.flows.convolutional import ConvolutionalFlow
from logprob.flows.dense import DenseFlow
from logprob.flows.dequantization import Dequantized
from logprob.flows.glow import Glow
from logprob.flows.preprocessing import PixelLogits, Scale
from logprob.flows.reshape import Unflatten
from logprob.metrics.bound import LikelihoodBound
from logprob.objectives import SelfNormalizingLikelihood
from logprob.objectives.bound import NegativeLikelihoodBound
from logprob.testing import check_distribution

KINDS = ("resync", "exact", "emerging", "exponential", "1x1", "lu", "householder")
IMAGE = (1, 4, 4)
COLOUR = (2, 4, 4)  # one channel alone has nothing to mix

FLOWS = {
    "dense": lambda: DenseFlow(3, depth=3, log_det="resync"),
    "dense, exact": lambda: DenseFlow(3, log_det="exact", init="orthogonal"),
    "dense with preprocessing": lambda: DenseFlow(3, log_det="exact", preprocessing=[Scale(2.0)]),
    "glow, no split": lambda: Glow(IMAGE, 2, 1, width=6, mixing="1x1", split=False),
    "glow, no actnorm": lambda: Glow(IMAGE, 2, 1, width=6, mixing="1x1", actnorm=False),
    "glow, 3 x 3": lambda: Glow(IMAGE, 2, 1, width=6, mixing="exact", kernel_size=3),
    "glow of flat rows": lambda: Glow(IMAGE, 2, 1, width=6, mixing="1x1", preprocessing=[Unflatten(IMAGE)]),
    **{f"glow, {kind}": lambda kind=kind: Glow(IMAGE, 2, 1, width=6, mixing=kind) for kind in KINDS},
    **{f"convolutional, {kind}": lambda kind=kind: ConvolutionalFlow(COLOUR, 2, 1, kind) for kind in KINDS},
}


# The others differ by a layer that has such a test of its own.
CONTRACT = [
    *("dense", "dense with preprocessing", "glow, no split", "glow, 3 x 3", "glow of flat rows", "glow, resync"),
    *("glow, 1x1", "convolutional, exact", "convolutional, emerging", "convolutional, exponential"),
]


def in_general_position(flow, scale=0.1):
    """The flow initialised from noise, and nothing left at zero."""
    torch.manual_seed(2)
    flow.initialize(torch.randn(50, *flow.shape))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += scale * torch.randn_like(parameter)
    return flow


# torch.compile itself makes an instance of a custom autograd function, such as that of the splines.
@pytest.mark.parametrize("name", CONTRACT)
def test_flows_keep_the_contract(name):
    flow = in_general_position(FLOWS[name]()).eval()
    x = 2 * torch.randn(3, *flow.shape)
    check_distribution(lambda: in_general_position(FLOWS[name]()).eval(), x)


@pytest.mark.parametrize("name", FLOWS)
def test_inverses_and_shapes(name):
    flow = in_general_position(FLOWS[name]()).eval()
    x = torch.randn(20, *flow.shape)
    z, _ = flow.encode(x)
    assert tuple(z.shape[1:]) == flow.latent_shape
    torch.testing.assert_close(flow.inverse(z), x, rtol=0, atol=1e-4)
    torch.testing.assert_close(flow.encode(flow().sample((4,)))[0].shape, z[:4].shape)


# Each with how far its tails reach: an activation of slope s stretches them by 1 / s.
PLANAR = {
    "dense": (lambda: DenseFlow(2, log_det="exact"), 24),
    "convolutional": (lambda: ConvolutionalFlow((1, 1, 2), 1, 2, "exact"), 12),
    "convolutional, tanh": (lambda: ConvolutionalFlow((1, 2, 1), 1, 2, "exact", "smooth-tanh"), 60),
}


@pytest.mark.parametrize("name", PLANAR)
def test_mass_in_two_dimensions(name):
    make, reach = PLANAR[name]
    flow = in_general_position(make()).double()
    nodes = torch.linspace(-reach, reach, 1000, dtype=torch.float64)
    grid = torch.cartesian_prod(nodes, nodes).reshape(-1, *flow.shape)
    with torch.no_grad():
        mass = flow().log_prob(grid).exp().sum() * (nodes[1] - nodes[0]) ** 2
    assert abs(mass - 1) < 1e-3


def test_mass_of_a_glow():
    flow = in_general_position(Glow((1, 2, 2), 1, 2, width=6, mixing="1x1"), 0.05).double()
    nodes = torch.linspace(-6, 6, 25, dtype=torch.float64)
    grid = torch.cartesian_prod(*[nodes] * 4).reshape(-1, 1, 2, 2)
    with torch.no_grad():
        mass = flow().log_prob(grid).exp().sum() * 0.5**4
    assert abs(mass - 1) < 1e-2


def test_the_structure_is_the_published_one():
    flow = ConvolutionalFlow((1, 28, 28))
    kinds = [type(layer).__name__ for layer in flow.layers]
    assert kinds.count("SelfNormalizingConv2d") == 9
    assert kinds.count("RationalQuadraticSpline") == 8
    assert kinds[-1] == "SelfNormalizingConv2d"
    assert flow.latent_shape == (16, 7, 7)
    glow = Glow((1, 28, 28), blocks=2, steps=3, width=4)
    kinds = [type(layer).__name__ for layer in glow.layers]
    assert kinds == ["Squeeze", *["ActNorm", "SelfNormalizingConv2d", "AffineCoupling2d"] * 3, "Split"]
    assert glow.layers[-1].shape == (4, 14, 14)
    assert glow.layers[-1].inner_shape == (8, 7, 7)
    assert len(glow.surrogate_log_prob(torch.randn(4, 1, 28, 28)).energies) == 6
    assert glow.layers[2].geometry.kernel_size == (1, 1)


def golden_flow(file):
    flow = DenseFlow(8, preprocessing=[PixelLogits(256)]).double()
    with torch.no_grad():
        for i, layer in enumerate((flow.layers[0], flow.layers[2])):
            for name, tensor in zip("WRb", (layer.weight, layer.inverse_weight, layer.bias), strict=True):
                tensor.copy_(file[f"{name}{i}"])
    return flow, file["x"].flatten(1)


def close(got, expected, atol=1e-11):
    torch.testing.assert_close(got.detach(), expected, rtol=1e-9, atol=atol)


def gradients_are(flow, file, kind, names="Wb", factor=1.0):
    for i, layer in enumerate((flow.layers[0], flow.layers[2])):
        for name, tensor in zip("WRb", (layer.weight, layer.inverse_weight, layer.bias), strict=True):
            if name in names:
                close(tensor.grad, factor * file[f"g{name}{i}{kind}"])


def test_the_published_flow_and_its_exact_gradients():
    file = load("flow")
    flow, x = golden_flow(file)
    log_prob = flow().log_prob(x)
    close(log_prob, file["log_prob"])
    close(-log_prob / (8 * math.log(2)), file["bpd"])
    (-log_prob.mean()).backward()
    gradients_are(flow, file, "_exact")
    z, _ = flow.encode(x)
    close(flow.inverse(z), file["x_true"], atol=1e-8)
    close(flow.approximate_inverse(z), file["x_approx"], atol=1e-8)


@pytest.mark.parametrize("scale", ["paper", "full"])
def test_the_published_surrogate(scale):
    """The scale concerns the weights of the layers, not what flows through them to biases and lower layers."""
    file = load("flow")
    flow, x = golden_flow(file)
    log_prob, energies = flow.surrogate_log_prob(x, options=SurrogateOptions(None, scale))
    close(log_prob, file["cheap_log_prob"])
    assert not energies
    (-log_prob.mean()).backward()
    gradients_are(flow, file, "", "WR", 2.0 if scale == "full" else 1.0)
    gradients_are(flow, file, "", "b")


def test_the_published_reconstruction_energies():
    file = load("flow")
    flow, x = golden_flow(file)
    energies = flow.surrogate_log_prob(x, options=SurrogateOptions("both")).energies
    total = sum(energy.value for energy in energies)
    close(total, file["recon_total"])
    total.backward()
    gradients_are(flow, file, "_rec", "WR")


def pixels(count=120, side=8):
    """Images with structure: a bright square at a random place, 17 grey values, as flat rows."""
    images = torch.randint(3, (count, 1, side, side))
    for image, corner in zip(images, torch.randint(side - 3, (count, 2)).tolist(), strict=True):
        image[0, corner[0] : corner[0] + 3, corner[1] : corner[1] + 3] += 12
    return images.flatten(1)


def pixel_model(mixing):
    preprocessing = [PixelLogits(17), Unflatten((1, 8, 8))]
    if mixing == "convolutional":
        return Dequantized(ConvolutionalFlow((1, 8, 8), 2, 1, preprocessing=preprocessing), 17)
    return Dequantized(Glow((1, 8, 8), 2, 1, width=8, mixing=mixing, preprocessing=preprocessing), 17)


@pytest.mark.parametrize("mixing", ["self-normalizing", "1x1", "convolutional"])
def test_round_trips_before_and_after_training(mixing):
    """In float32 to 1e-4 of the logits at the start and after 200 steps, and the bound rises."""
    x = pixels()
    model = pixel_model(mixing)
    model.initialize(x)
    objective = NegativeLikelihoodBound() if mixing == "1x1" else SelfNormalizingLikelihood()
    before = LikelihoodBound()(model.eval(), Batch(x))
    optimizer = torch.optim.Adam(model.train().parameters(), 1e-3)
    for step in range(201):
        if step in (0, 200):
            logits, _ = model.flow.preprocessing(model.dequantize(x)[0])
            back = model.flow.layers.inverse(model.flow.layers(logits)[0])
            assert (back - logits).abs().max() < 1e-4
        optimizer.zero_grad()
        objective(model, Batch(x[step % 4 :: 4])).value.backward()
        optimizer.step()
    after = LikelihoodBound()(model.eval(), Batch(x))
    assert after["log_likelihood_bound"] > before["log_likelihood_bound"] + 5
    assert after["bits_per_dim"] == pytest.approx(-after["log_likelihood_bound"] / 64 / math.log(2))
    assert after["bits_per_dim"] > 0
    assert model().sample((2,)).shape == (2, 64)


def test_a_conditional_glow():
    flow = Glow((1, 4, 4), 2, 1, width=4, mixing="1x1", actnorm=False, context_channels=3)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    context, x = torch.randn(5, 3), torch.randn(5, 1, 4, 4)
    log_prob = flow(context).log_prob(x)
    assert log_prob.shape == (5,)
    assert not torch.allclose(log_prob, flow(-context).log_prob(x))
    assert flow(context).sample((2,)).shape == (2, 5, 1, 4, 4)
    z, _ = flow.encode(x, context)
    torch.testing.assert_close(flow.inverse(z, context), x, rtol=0, atol=1e-5)


ERRORS = {
    "depth": (lambda: DenseFlow(3, depth=0), "depth must be at least 1"),
    "convolution": (lambda: ConvolutionalFlow((1, 4, 4), convolution="nothing"), "must be one of self-normalizing"),
    "blocks": (lambda: ConvolutionalFlow((1, 4, 4), blocks=0), "blocks and depth must be at least 1"),
    "sides": (lambda: ConvolutionalFlow((1, 6, 6), blocks=3, depth=1), "multiples of 2, got 3 x 3"),
    "image": (lambda: ConvolutionalFlow((4, 4)), "channels, height, width"),
    "mixing": (lambda: Glow((1, 4, 4), mixing="nothing"), "must be one of self-normalizing"),
    "levels": (lambda: Glow((1, 4, 4), blocks=3, steps=1, width=2), "multiples of 2, got 1 x 1"),
    "steps": (lambda: Glow((1, 4, 4), steps=0), "blocks and steps must be at least 1"),
    "flat rows": (lambda: Glow((1, 4, 4), 1, 1, 2, preprocessing=[Unflatten((1, 2, 8))]), "expected an event of shape"),
    "activation": (lambda: DenseFlow(3, activation="nothing"), "activation"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_expected(case):
    call, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("split", [True, False])
def test_no_images(split):
    flow = Glow((1, 4, 4), blocks=2, steps=1, width=4, split=split)
    flow.initialize(torch.randn(8, 1, 4, 4))
    x = torch.zeros(0, 1, 4, 4)
    assert flow().log_prob(x).shape == flow.surrogate_log_prob(x).log_prob.shape == (0,)
    assert flow().sample((0,)).shape == x.shape
