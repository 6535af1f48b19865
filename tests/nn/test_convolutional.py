"""Convolutional networks: shapes, borders, the order of the outputs, the start of the weights, and errors."""

from __future__ import annotations

import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from logprob.nn import MLP, ConvDecoder, ConvEncoder, SignedMLP, start_from
from logprob.nn.convolutional import _Enlarge

GREY, SMALL, COLOUR = (1, 28, 28), (1, 32, 32), (3, 64, 64)
PAIRS = {
    "conv": (
        GREY,
        {"padding": "valid", "init": "he"},
        {"channels": (32, 64, 32), "strides": (2, 2, 1)},
        (64 * 6 * 6, (32, 7, 7)),
    ),
    "conv_jointvae": (
        SMALL,
        {"channels": (32, 64, 64), "kernel_size": 4, "hidden": (256,), "init": "glorot"},
        {"channels": (64, 32, 32), "kernel_size": 4, "strides": (2, 2, 2), "hidden": (256,)},
        (256, (64, 4, 4)),
    ),
    "conv_jointvae of colour images": (
        COLOUR,
        {"channels": (32, 64, 64, 64), "kernel_size": 4, "hidden": (256,)},
        {"channels": (64, 64, 32, 32), "kernel_size": 4, "strides": (2, 2, 2, 2), "final_activation": "elu"},
        (256, (64, 4, 4)),
    ),
    "dlgmm_conv": (
        GREY,
        {"channels": (32, 64, 64), "kernel_size": 4},
        {"channels": (32, 64, 32), "strides": (2, 2, 1), "init": "glorot"},
        (64 * 4 * 4, (32, 7, 7)),
    ),
}


@pytest.mark.parametrize("batch", [(), (0,), (2,), (3, 2)])
@pytest.mark.parametrize("name", PAIRS)
def test_published_architectures(name, batch):
    shape, there, back, (flat, small) = PAIRS[name]
    pixels = shape[0] * shape[1] * shape[2]
    encoder = ConvEncoder(pixels, 7, image_shape=shape, **there)
    assert encoder.head[-1].in_features == flat
    assert encoder(torch.rand(*batch, pixels)).shape == (*batch, 7)
    decoder = ConvDecoder(7, 2 * pixels, image_shape=list(shape), **back)
    assert decoder.small_shape == small
    out = decoder(torch.randn(*batch, 7))
    assert out.shape == (*batch, 2 * pixels)
    assert back.get("final_activation") is None or (out >= -1).all()


def test_every_weight_has_a_gradient():
    for network in (
        ConvEncoder(784, 3, image_shape=GREY, hidden=(9,), activation="tanh"),
        ConvDecoder(784, 784, image_shape=GREY, hidden=(9,), activation="tanh"),
    ):
        network(torch.rand(4, 784)).square().sum().backward()
        assert all(parameter.grad.ne(0).any() for parameter in network.parameters())
        assert isinstance(pickle.loads(pickle.dumps(network)), type(network))


@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 2), (4, 2), (3, 1), (5, 2), (3, 3), (2, 2), (5, 3), (4, 3)])
def test_enlarging_is_the_transpose_of_shrinking(kernel_size, stride):
    """``<conv(x), y> = <x, enlarge(y)>`` with the same weights: sides and borders agree."""
    side = 4 * stride
    encoder = ConvEncoder(side**2, 1, (1, side, side), (6,), kernel_size, stride).double()
    enlarge = _Enlarge(6, 1, kernel_size, stride).double()
    convolution = next(layer for layer in encoder.convolutions if isinstance(layer, nn.Conv2d))
    nn.init.zeros_(convolution.bias)
    nn.init.zeros_(enlarge.bias)
    with torch.no_grad():
        enlarge.weight.copy_(convolution.weight)
    x, y = torch.randn(2, 1, side, side).double(), torch.randn(2, 6, 4, 4).double()
    shrunk = encoder.convolutions[:-1](x)  # without the nonlinearity
    assert shrunk.shape == y.shape
    torch.testing.assert_close((shrunk * y).sum(), (x * enlarge(y)).sum())


def test_zeros_stand_around_the_image():
    """28 -> 14 -> 7 -> 4 with kernels of 4: the third layer has one zero before a side of 7 and two after it."""
    encoder = ConvEncoder(784, 1, GREY, (2, 2, 2), kernel_size=4)
    x = torch.rand(3, 1, 28, 28)
    first, second, third = (layer for layer in encoder.convolutions if isinstance(layer, nn.Conv2d))
    expected = F.relu(F.conv2d(F.pad(x, (1, 1, 1, 1)), first.weight, first.bias, 2))
    expected = F.relu(F.conv2d(F.pad(expected, (1, 1, 1, 1)), second.weight, second.bias, 2))
    expected = F.relu(F.conv2d(F.pad(expected, (1, 2, 1, 2)), third.weight, third.bias, 2))
    torch.testing.assert_close(encoder.convolutions(x), expected)


def test_outputs_are_one_parameter_of_all_pixels_then_the_next():
    """A bias of the last layer moves one parameter of one channel, at all pixels."""
    decoder = ConvDecoder(5, 2 * 3 * 64, (3, 8, 8), channels=(4, 4), strides=(2, 1))
    z = torch.randn(2, 5)
    before = decoder(z).unflatten(-1, (2, 3, 8, 8))
    with torch.no_grad():
        decoder.convolutions[-1].bias[4] += 1  # second parameter, second channel
    moved = decoder(z).unflatten(-1, (2, 3, 8, 8)) - before
    expected = torch.zeros(2, 2, 3, 8, 8)
    expected[:, 1, 1] = 1
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=0)


def test_rows_are_images_channel_by_channel():
    encoder = ConvEncoder(2 * 36, 4, (2, 6, 6), channels=(3,), padding="valid")
    images = torch.rand(5, 2, 6, 6)
    torch.testing.assert_close(encoder(images.flatten(1)), encoder.head(encoder.convolutions(images).flatten(1)))


def test_start_of_the_weights():
    """Ranges and variances; four standard errors of a variance estimated from 73,728 weights are 2 %."""
    he = nn.Conv2d(64, 128, 3)
    start_from(he, "he")
    std = (2 / (64 * 9)) ** 0.5
    assert abs(he.weight.var().item() / std**2 - 1) < 0.02
    assert he.weight.abs().max() <= 2 * std / 0.8796  # cut off, where a normal law would go twice as far
    for layer, fans in ((he, 9 * (64 + 128)), (nn.ConvTranspose2d(64, 128, 3), 9 * (64 + 128)), (nn.Linear(64, 9), 73)):
        start_from(layer, "glorot")
        bound = (6 / fans) ** 0.5
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()
    torch.manual_seed(1)
    plain = MLP(4, 3)
    torch.manual_seed(1)
    assert torch.equal(MLP(4, 3, init="torch")[0].weight, plain[0].weight)
    assert not any(layer.bias.any() for layer in MLP(4, 3, init="he") if isinstance(layer, nn.Linear))
    start_from(nn.Linear(2, 2, bias=False), "glorot")


def test_options_of_the_perceptron():
    assert MLP(3, 4, final_activation="softplus")(torch.randn(50, 3)).min() > 0
    assert not MLP(3, 4, final_scale=0.0, final_activation="elu")(torch.randn(5, 3)).any()
    network, x = SignedMLP(3, 2, hidden=(5,)), torch.rand(2, 4, 3)
    torch.testing.assert_close(network(x), nn.Sequential(*network)(2 * x - 1))


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda: ConvEncoder(784, 1, (1, 28, 27)), r"of 784 pixels, got \(1, 28, 27\)"),
        (lambda: ConvEncoder(784, 1, (784,)), r"must be \(channels, height, width\)"),
        (lambda: ConvEncoder(64, 1, (1, 8, 8), (2, 2, 2), padding="valid"), "nothing is left"),
        (lambda: ConvEncoder(784, 1, GREY, padding="full"), "padding must be 'same' or 'valid', got 'full'"),
        (lambda: ConvEncoder(784, 1, GREY, (32, 0)), "at least 1"),
        (lambda: ConvEncoder(784, 1, GREY, activation="sine"), "must be one of relu"),
        (
            lambda: ConvEncoder(784, 1, GREY, init="keras"),
            "init must be one of torch, glorot, glorot-relu, he, got 'keras'",
        ),
        (lambda: ConvDecoder(5, 785, GREY), "multiple of the 784 pixels of an image, got 785"),
        (lambda: ConvDecoder(5, 9, (1, 3, 3)), "multiples of the strides' product, 4"),
        (lambda: ConvDecoder(5, 784, GREY, strides=(2, 2)), r"a stride for each of channels \[32, 64, 32\]"),
        (lambda: ConvDecoder(5, 784, GREY, strides=(4, 1, 1)), "at most kernel_size=3"),
        (lambda: ConvDecoder(5, 784, GREY, channels=(), strides=()), "a stride for each"),
    ],
)
def test_errors(wrong, match):
    with pytest.raises(ValueError, match=match):
        wrong()
