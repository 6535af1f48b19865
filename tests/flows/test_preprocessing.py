"""From pixels to real numbers and back, in both precisions."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from logprob.flows import Sequential
from logprob.flows.preprocessing import Logit, Normalize, PixelLogits, Scale, Sigmoid, Squash
from logprob.testing import check_transform

FILE = Path(__file__).parents[1] / "golden" / "snf" / "flow.npz"

# Each with the interval that its domain is.
LAYERS = {
    "scale": (lambda: Scale(256), (0, 256)),
    "squash": (lambda: Squash(0.01), (0, 1)),
    "logit": (lambda: Logit(), (0.01, 0.99)),
    "sigmoid": (lambda: Sigmoid(), (-6, 6)),
    "normalize": (lambda: Normalize(0.5, 2.0), (-3, 3)),
    "normalize channels": (lambda: Normalize(torch.randn(2, 1, 1), torch.rand(2, 1, 1) + 0.5), (-3, 3)),
    "normalize, learnable": (lambda: Normalize(torch.randn(3), torch.rand(3) + 0.5, learnable=True), (-3, 3)),
    "pixel logits": (lambda: PixelLogits(17, alpha=0.01), (0, 17)),
}


def chain(categories, alpha=1e-6):
    return Sequential([Scale(categories), Squash(alpha), Logit()])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 2, 3)])
def test_layers_are_transforms(name, shape):
    make, (low, high) = LAYERS[name]
    layer = make().double()
    x = low + (high - low) * torch.rand(4, *shape, dtype=torch.float64)
    check_transform(layer.transform(event_dim=3), x, tolerance=1e-9)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x)[0], layer(x)[0])


@pytest.mark.parametrize("layer", [chain(256), PixelLogits(256)], ids=["chain", "one layer"])
def test_the_published_chain(layer):
    with np.load(FILE) as file:
        x, z, ladj = (torch.as_tensor(file[name]) for name in ("x", "pre", "pre_ldj"))
    got, got_ladj = layer(x.flatten(1))
    torch.testing.assert_close(got, z, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(got_ladj, ladj, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(layer.inverse(got), x.flatten(1), rtol=1e-9, atol=1e-9)


def test_pixel_logits_keep_their_digits_in_float32():
    """Near 256 the chain has lost half of its digits; from ``256 - x`` all of them are there."""
    ends = torch.tensor([0.0, 1e-6, 1e-4, 0.1, 100.0, 255.9, 256 - 1e-3, 256 - 2**-16, 256.0])[:, None]
    exact, exact_ladj = chain(256)(ends.double())
    z, ladj = PixelLogits(256)(ends)
    torch.testing.assert_close(z.double(), exact, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ladj.double(), exact_ladj, rtol=1e-6, atol=1e-6)
    worst = (chain(256)(ends)[0].double() - exact).abs().max()
    assert worst > 100 * (z.double() - exact).abs().max()
    torch.testing.assert_close(PixelLogits(256).inverse(z), ends, rtol=0, atol=1e-4)


def test_outside_of_the_pixels_there_is_no_number():
    assert PixelLogits(4)(torch.tensor([[-0.1], [4.1]]))[0].isnan().all()


def test_learnable_normalization_has_parameters():
    layer = Normalize(0.5, 2.0, learnable=True)
    z, ladj = layer(torch.randn(3, 2))
    (z.sum() + ladj.sum()).backward()
    assert {name for name, p in layer.named_parameters() if (p.grad != 0).any()} == {"loc", "log_scale"}
    fixed = Normalize(0.5, 2.0)
    assert not list(fixed.parameters())
    assert set(fixed.state_dict()) == {"loc", "log_scale"}


@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_batch(name):
    layer, x = LAYERS[name][0](), torch.zeros(0, 2, 2, 3)
    z, ladj = layer(x)
    assert z.shape == layer.inverse(z).shape == x.shape
    assert ladj.shape == (0,)


@pytest.mark.parametrize("layer", [Scale(4), Squash(), Logit(), PixelLogits(4)], ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integers_are_for_dequantized_flows(layer, dtype):
    with pytest.raises(ValueError, match=rf"expected real numbers, got {dtype}: .* Dequantized"):
        layer(torch.ones(2, 3, dtype=dtype))


ERRORS = {
    "divisor": (lambda: Scale(0), "divisor must be positive"),
    "alpha": (lambda: Squash(0.5), r"alpha must be in \[0, 0.5\)"),
    "scale": (lambda: Normalize(0.0, [1.0, 0.0]), "must be positive"),
    "categories": (lambda: PixelLogits(1), "at least 2"),
    "alpha of pixels": (lambda: PixelLogits(4, alpha=0.0), r"alpha must be in \(0, 0.5\)"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_expected(case):
    call, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        call()
